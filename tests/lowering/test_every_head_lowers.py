"""Every head and its task have steps for GPUs and TPUs, in bfloat16."""

import pytest
from lowered_steps import INTEGERS, TARGETS, check, small_steps

from hybrid_jax.models.heads import HEADS


@pytest.mark.parametrize("platform", TARGETS)
@pytest.mark.parametrize("head", HEADS.names())
def test_head_lowers(head, platform):
    check(small_steps("vit", head, platform), platform)


def test_allowed_scatters_of_heads_are_still_there():
    assert small_steps("vit", "detr", "gpu").train.scatters == INTEGERS
