"""`sequential` gives the stride it is asked for, or says why not."""

import dataclasses

import pytest
import small_fusion
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import build_fusion
from hybrid_jax.specs import ResNetSpec


def build(resnet, **options):
    return nnx.eval_shape(
        lambda: build_fusion(
            "sequential",
            resnet,
            small_fusion.VIT,
            image_size=(64, 64),
            rngs=nnx.Rngs(params=0),
            **options,
        )
    )


@pytest.mark.parametrize(("stride", "blocks"), [(32, 4), (16, 3), (8, 2)])
def test_blocks_of_coarser_stages_move_into_the_last(stride, blocks):
    model = build(ResNetSpec(blocks=(1, 1, 1, 1), width=32), stride=stride)
    assert max(model.channels) == stride
    assert len(model.resnet.stages) == blocks
    assert sum(len(stage.blocks) for stage in model.resnet.stages) == 4


@pytest.mark.parametrize(
    ("change", "stride", "message"),
    [
        (
            dict(output_stride=8),
            16,
            "stride: expected 8 or less, the ResNet's output_stride",
        ),
        (dict(blocks=(1, 1)), 16, r"the ResNet's strides \(4, 8\), got 16"),
        (dict(blocks=()), 16, "none; use the fusion conv_stem"),
        (dict(), 12, r"strides \(4, 8, 16, 32\), got 12"),
    ],
)
def test_stride_it_cannot_give_is_one_line(change, stride, message):
    resnet = dataclasses.replace(ResNetSpec(blocks=(1, 1, 1, 1), width=32), **change)
    with pytest.raises(UserError, match=message):
        build(resnet, stride=stride)
