"""Folding for inference, part by part; whole fusions in `test_every_fusion.py`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_head
from flax import nnx
from folding_guarantee import check_folding_changes_nothing, outputs_of, random_module
from small_fusion import RESNET
from task_steps import build_model_of

from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.dpt_fusion import ResidualUnit
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.folding import FoldedNorm, fold
from hybrid_jax.models.layers.normalization import BatchNorm, GroupNorm
from hybrid_jax.models.resnet.bottleneck import Bottleneck
from hybrid_jax.models.resnet.resnet import ResNet

BATCH = dataclasses.replace(RESNET, norm="batch")
NORM = NormSpec(norm="batch")
RESNETS = {
    "batch": dict(norm="batch"),
    "batch, deep, pooled": dict(norm="batch", root="deep", shortcut="pooled"),
    "batch, dilated": dict(norm="batch", blocks=(1, 1, 1), output_stride=8),
    "batch, root alone": dict(norm="batch", blocks=()),
    "group of timm": dict(numerics="timm"),
    "group, pre-activation": dict(preactivation=True),
}


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", RESNETS)
def test_every_kind_of_resnet_gives_the_same_folded(kind):
    spec = dataclasses.replace(RESNET, **(dict(blocks=(1, 1)) | RESNETS[kind]))
    resnet = random_module(lambda: ResNet(spec, rngs=nnx.Rngs(params=0)))
    check_folding_changes_nothing(resnet, images(2, 65, 48, 3))
    assert not [m for _, m in nnx.iter_modules(resnet) if isinstance(m, BatchNorm)]


def test_residual_unit_with_norms_gives_the_same_folded():
    unit = random_module(
        lambda: ResidualUnit(NORM, 8, residual_norm=True, rngs=nnx.Rngs(params=0))
    )
    check_folding_changes_nothing(unit, images(2, 5, 7, 8))
    assert all(isinstance(norm, FoldedNorm) for norm in unit.norms)


@pytest.mark.parametrize("options", [dict(groups=8), dict(kernel=3, stride=2), {}])
def test_conv_norm_is_one_convolution_with_a_bias(options):
    pair = random_module(lambda: ConvNorm(NORM, 8, 8, rngs=nnx.Rngs(params=0), **options))
    pair.norm.fixed = True  # as a frozen one is
    check_folding_changes_nothing(pair, images(2, 5, 7, 8))
    assert set(nnx.to_pure_dict(nnx.state(pair))) == {"conv"}
    assert set(nnx.to_pure_dict(nnx.state(pair))["conv"]) == {"kernel", "bias"}


def test_conv_of_a_bias_of_its_own_keeps_it():
    pair = random_module(lambda: ConvNorm(NORM, 4, 6, rngs=nnx.Rngs(params=0)))
    pair.conv.bias = nnx.data(nnx.Param(jnp.arange(6.0)))
    check_folding_changes_nothing(pair, images(2, 5, 7, 4))


def test_group_norm_stays_with_its_statistics_of_each_image():
    pair = random_module(lambda: ConvNorm(NormSpec(), 8, 16, rngs=nnx.Rngs(params=0)))
    before = nnx.state(pair)
    check_folding_changes_nothing(pair, images(2, 5, 7, 8))
    assert isinstance(pair.norm, GroupNorm)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(pair), before)


def test_norm_without_a_convolution_before_it_stays():
    block = random_module(
        lambda: Bottleneck(
            BATCH, 8, 2, stride=1, dilation=1, spacing=0, rngs=nnx.Rngs(params=0)
        )
    )
    block.conv2 = None  # as in `botnet`
    fold(block)
    assert isinstance(block.norm2, BatchNorm)
    assert isinstance(block.norm1, FoldedNorm)


def test_arrays_stay_float32_under_bfloat16():
    spec = NormSpec(norm="batch", dtype="bfloat16")
    pair = random_module(lambda: ConvNorm(spec, 8, 8, rngs=nnx.Rngs(params=0)))
    x = images(2, 5, 7, 8)
    expected = outputs_of(pair, x).astype(jnp.float32)
    fold(pair)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(nnx.state(pair))} == {"float32"}
    found = outputs_of(pair, x)
    assert found.dtype == jnp.bfloat16
    # Eight bits, rounded at other places.
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=0.05)


@pytest.mark.parametrize("head", HEADS.names())
def test_no_head_has_anything_to_fold_by_default(head):
    """So what they give is what they are given; fusions are in `test_every_fusion.py`."""
    model = build_model_of("vit", head)
    before = nnx.split((model.head, model.pyramid))
    fold(model)
    assert nnx.split((model.head, model.pyramid)) == before
    assert model.is_folded


def test_head_with_batch_norm_gives_the_same_folded():
    head = random_module(
        lambda: small_head.construct("dpt", norm="batch", residual_norm=True)
    )
    check_folding_changes_nothing(head, small_head.features(taps=0))
    assert not [m for _, m in nnx.iter_modules(head) if isinstance(m, BatchNorm)]


def test_folded_part_does_not_train():
    pair = random_module(lambda: ConvNorm(NORM, 4, 4, rngs=nnx.Rngs(params=0)))
    fold(pair)
    with pytest.raises(UserError, match="expected False in a model folded"):
        pair(images(1, 2, 2, 4), train=True)


def test_folded_model_does_not_train_and_gives_the_same():
    model = random_module(lambda: build_model_of("conv_stem", "linear", depth=1))
    x = images(1, 32, 32, 3)
    check_folding_changes_nothing(model, x)
    with pytest.raises(UserError, match=r"load_trained\(\.\.\., folded=False\)"):
        model(x, train=True)
