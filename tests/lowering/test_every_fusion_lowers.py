"""Every fusion has steps for GPUs and TPUs, at an odd size and in bfloat16.

Training is lowered for GPUs: there attention is fused, and a scatter is slow. For TPUs the
layers alone take other forms (`hybrid_jax/ops/platform.py`); their training is lowered in
the loop of blocks here, in `test_every_head_lowers.py` and, with each fusion, in
`test_every_pair_lowers.py`, which is slow. Every parameter is updated alike, so the update
is a short one here, and the default under every head.
"""

import functools

import pytest
from lowered_steps import FLOATS, TARGETS, check, small_steps

from hybrid_jax.models.fusions import FUSIONS

steps_of = functools.partial(small_steps, head="linear", optimizer="sgd")


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_fusion_lowers_for_gpus(fusion):
    check(steps_of(fusion, platform="gpu"), "gpu")


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_evaluation_of_fusion_lowers_for_tpus(fusion):
    check(steps_of(fusion, platform="tpu", train=False), "tpu")


def test_blocks_of_a_vit_are_fused_on_a_gpu():
    steps = steps_of("vit", platform="gpu", depth=2)
    assert steps.train.fused_attention() == (2, 2)


@pytest.mark.parametrize("platform", TARGETS)
def test_blocks_in_a_loop_lower(platform):
    steps = steps_of("sequential", platform=platform, depth=2, block_loop="scan")
    check(steps, platform)
    if platform == "gpu":  # one for all blocks, and none to recompute it
        assert steps.train.fused_attention() == (1, 1)


def test_allowed_scatters_of_fusions_are_still_there():
    assert steps_of("vit_adapter", platform="gpu").train.scatters == FLOATS
