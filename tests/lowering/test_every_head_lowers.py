"""Every head and its task have steps for GPUs and TPUs, in bfloat16.

Training is lowered with one head of each kind, and with all of them in
`test_every_pair_lowers.py`, which is slow. For TPUs the layers alone take other forms, and
some operations of a loss: there fewer heads tell all.
"""

import functools

import pytest
from lowered_steps import INTEGERS, TARGETS, check, small_steps

from hybrid_jax.models.heads import HEADS

# Every parameter is updated alike: the update is a short one but for one head.
steps_of = functools.partial(small_steps, "vit", optimizer="sgd")
TRAINED = dict(
    gpu=("detr", "fcos", "linear", "linear_pixels"), tpu=("detr", "linear_pixels")
)


@pytest.mark.parametrize("platform", TARGETS)
@pytest.mark.parametrize("head", HEADS.names())
def test_head_lowers(head, platform):
    train = head in TRAINED[platform]
    check(steps_of(head, platform=platform, train=train), platform)


@pytest.mark.parametrize("platform", TARGETS)
def test_the_usual_update_lowers(platform):
    check(small_steps("vit", "linear", platform, optimizer="adamw"), platform)


def test_allowed_scatters_of_heads_are_still_there():
    assert steps_of("detr", platform="gpu").train.scatters == INTEGERS
