"""Every fusion has steps for GPUs and TPUs, at an odd size and in bfloat16."""

import pytest
from lowered_steps import DEPTH, FLOATS, TARGETS, check, small_steps

from hybrid_jax.models.fusions import FUSIONS


@pytest.mark.parametrize("platform", TARGETS)
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_fusion_lowers(fusion, platform):
    check(small_steps(fusion, "linear", platform), platform)


def test_blocks_of_a_vit_are_fused_on_a_gpu():
    steps = small_steps("vit", "linear", "gpu")
    assert steps.train.fused_attention() == (DEPTH, DEPTH)


@pytest.mark.parametrize("platform", TARGETS)
def test_blocks_in_a_loop_lower(platform):
    steps = small_steps("sequential", "linear", platform, block_loop="scan")
    check(steps, platform)
    if platform == "gpu":  # one for all blocks, and none to recompute it
        assert steps.train.fused_attention() == (1, 1)


def test_allowed_scatters_of_fusions_are_still_there():
    assert small_steps("vit_adapter", "linear", "gpu").train.scatters == FLOATS
