"""Every fusion has steps for GPUs and TPUs, at an odd size and in bfloat16.

Evaluation is lowered with every fusion. Of training, that attention is fused both ways,
that nothing is a scatter and that the state keeps its types are seen in the few fusions
below, in the loop of blocks, and in `test_every_head_lowers.py`; with each, training is
lowered in `test_every_pair_lowers.py`, which is slow. On a GPU a scatter is slow, and so
would the gradient of a gather be. Every parameter is updated alike, so the update is short.
"""

import functools

import pytest
from lowered_steps import FLOATS, TARGETS, check, small_steps

from hybrid_jax.models.fusions import FUSIONS

steps_of = functools.partial(small_steps, head="linear", optimizer="sgd")


# In one evaluation step: the score of the label.
GATHERS = FLOATS | {"hybrid_jax/tasks/classification/task.py"}


@pytest.mark.parametrize("platform", TARGETS)
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_evaluation_of_fusion_lowers(fusion, platform):
    steps = steps_of(fusion, platform=platform, train=False)
    check(steps, platform)
    unexpected = steps.evaluate.gathers - GATHERS
    assert not unexpected, f"gathers from {unexpected}, in training they become scatters"


# Attention in a ResNet, halves that are coupled, a gradient that is a scatter.
@pytest.mark.parametrize("fusion", ["botnet", "conformer", "vit_adapter"])
def test_training_of_fusion_lowers_for_gpus(fusion):
    check(steps_of(fusion, platform="gpu"), "gpu")


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
    steps = steps_of("vit_adapter", platform="gpu")
    assert steps.train.scatters == FLOATS
    assert steps.evaluate.gathers == GATHERS
