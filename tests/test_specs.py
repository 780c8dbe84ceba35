"""Specs refuse what cannot be built, and name the nearest of what can."""

import pytest

from hybrid_jax.errors import UserError
from hybrid_jax.specs import resnet_spec, vit_spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(width=48), "multiple of 32 for GroupNorm"),
        (dict(blocks=(2, 0)), "1 or more blocks"),
        (dict(norm="layer"), "expected one of 'group', 'batch', got 'layer'"),
        (dict(output_stride=2), "ResNetSpec.output_stride"),
        (dict(numerics="torch"), "ResNetSpec.numerics"),
        (dict(dtype="float16"), "ResNetSpec.dtype"),
        (dict(widht=64), "Did you mean 'width'"),
    ],
)
def test_resnet_spec_refuses(options, message):
    with pytest.raises(UserError, match=message):
        resnet_spec("r26", **options)


def test_unknown_resnet_size_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown ResNetSpec size 'r51'.*'r50'"):
        resnet_spec("r51")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_heads=5), "num_heads: expected a divisor of width 768, got 5"),
        (dict(pool="max"), "ViTSpec.pool: expected one of 'cls', 'mean', 'attention'"),
        (dict(drop_path=1.0), r"ViTSpec.drop_path: expected a rate in \[0, 1\)"),
        (dict(dropout=-0.1), "ViTSpec.dropout"),
        (dict(width=30, num_heads=5, positions="rope2d"), "= 30 / 5 = 6"),
        (dict(width=30, num_heads=5, positions="sincos2d"), "'sincos2d' needs a width"),
        (dict(gelu="exact"), "ViTSpec.gelu"),
        (dict(position_resize="nearest"), "ViTSpec.position_resize"),
        (dict(dorpout=0.1), "Did you mean 'dropout'"),
    ],
)
def test_vit_spec_refuses(options, message):
    with pytest.raises(UserError, match=message):
        vit_spec("b", **options)


def test_unknown_vit_size_names_the_known():
    with pytest.raises(UserError, match="Known: ti, s, b, l, h"):
        vit_spec("xxl")
