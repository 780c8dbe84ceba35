"""`bifusion` against numpy in float64, written from the formulas of TransFuse."""

import dataclasses

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, random_like
from scipy import special

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.bifusion import BiFusedBackbones, SpatialGate
from hybrid_jax.specs import ResNetSpec, ViTSpec

RESNET = ResNetSpec(blocks=(1, 1, 1), width=32)
VIT = ViTSpec(width=24, depth=1, num_heads=3, mlp_dim=32, patch_size=8)
HW = (20, 28)  # 5 x 7 cells at stride 4, 3 x 4 at stride 8


def build(*, resnet=RESNET, vit=VIT, **options):
    return BiFusedBackbones(resnet, vit, image_size=HW, rngs=nnx.Rngs(params=0), **options)


def conv_norm(x, p):
    y = reference.conv(x, p["conv"]["kernel"], centered=True)
    return reference.map_norm(y, p["norm"])


def conv_norm_relu(x, p):
    return reference.relu(conv_norm(x, p))


def bifusion(g, t, p):
    reading = np.stack([g.max(-1), g.mean(-1)], axis=-1)
    gate = reference.conv(reading, p["by_place"]["conv"]["kernel"], centered=True)
    by_place = g * special.expit(gate + p["by_place"]["conv"]["bias"])
    inner = reference.relu(reference.linear(t.mean((1, 2)), p["by_channel"]["fc1"]))
    gate = special.expit(reference.linear(inner, p["by_channel"]["fc2"]))
    by_channel = t * gate[:, None, None]
    product = conv_norm(g, p["of_resnet"]) * conv_norm(t, p["of_vit"])
    product = conv_norm_relu(product, p["product"])
    joined = np.concatenate([by_place, by_channel, product], axis=-1)
    r = p["residual"]
    y = conv_norm_relu(conv_norm_relu(joined, r["conv1"]), r["conv2"])
    return reference.relu(conv_norm(y, r["conv3"]) + conv_norm(joined, r["shortcut"]))


def doubled(x, hw):
    """Half-pixel bilinear interpolation, one axis after the other."""
    for axis, side in ((1, hw[0]), (2, hw[1])):
        at = np.clip((np.arange(side) + 0.5) / 2 - 0.5, 0, x.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = np.expand_dims(at - low, (0, 3 - axis, 3))
        x = (1 - share) * x.take(low, axis) + share * x.take(high, axis)
    return x


def test_bifusion_equals_float64():
    graph, state = nnx.split(nnx.eval_shape(lambda: build(strides=(4, 8))))
    state = random_like(state)
    images = np.random.default_rng(1).standard_normal((2, *HW, 3))
    features = jax.jit(lambda s, x: nnx.merge(graph, s)(x))(state, jnp.float32(images))
    p = as_float64(state)
    local = reference.ResNet(p["resnet"], blocks=(1, 1, 1), norm="group")(images)
    padded = np.pad(images, ((0, 0), (0, 4), (0, 4), (0, 0)))  # to whole patches
    tokens = reference.vit_tokens(padded, p["vit"], patch=8, heads=3)
    t = tokens[:, 1:].reshape(2, 3, 4, 24)
    coarse = bifusion(local[1], t, p["fusions"][0])
    up = p["ups"][0]
    t = conv_norm_relu(conv_norm_relu(doubled(t, (5, 7)), up["conv1"]), up["conv2"])
    fine = bifusion(local[0], t, p["fusions"][1])
    assert list(features.maps) == [4, 8, 16]
    for ours, theirs in zip(features.maps.values(), (fine, coarse, local[2]), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())
    means = [local[2].mean((1, 2)), tokens[:, 0], coarse.mean((1, 2))]
    pooled = np.concatenate(means, axis=-1)
    np.testing.assert_allclose(features.pooled, pooled, atol=2e-4 * np.abs(pooled).max())


@pytest.mark.parametrize(
    ("patch", "strides", "channels", "ups"),
    [
        (16, None, {4: 32, 8: 64, 16: 128, 32: 1024}, [2, 2]),
        (8, None, {4: 32, 8: 64, 16: 128, 32: 1024}, [2]),
        (16, [32, 4], {4: 32, 8: 256, 16: 512, 32: 256}, [4]),
    ],
)
def test_scales_follow_the_strides_and_the_patch_size(patch, strides, channels, ups):
    module = nnx.eval_shape(
        lambda: build(
            resnet=dataclasses.replace(RESNET, blocks=(1, 1, 1, 1)),
            vit=dataclasses.replace(VIT, patch_size=patch),
            strides=strides,
        )
    )
    images = jax.ShapeDtypeStruct((1, 97, 131, 3), jnp.float32)
    features = nnx.eval_shape(lambda m, x: m(x), module, images)
    assert module.channels == channels
    shapes = {stride: m.shape[-1] for stride, m in features.maps.items()}
    assert shapes == channels
    assert [up.factor for up in module.ups] == ups


def test_gate_sends_the_gradient_of_the_largest_channel_to_one_of_equals():
    graph, state = nnx.split(SpatialGate(dtype="float32", rngs=nnx.Rngs(params=0)))
    kernel = jnp.zeros((7, 7, 2, 1)).at[3, 3, 0, 0].set(1.0)  # reads the maximum alone
    state["conv"]["kernel"] = nnx.Param(kernel)
    x = jnp.array([2.0, -1.0, 2.0, 0.5]).reshape(1, 1, 1, 4)
    gradient = jax.jit(jax.grad(lambda x: nnx.merge(graph, state)(x).sum()))(x)
    gate = special.expit(2.0)
    expected = np.full(4, gate)
    expected[0] += 3.5 * gate * (1 - gate)
    np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(strides=(4, 32)),
            "strides: expected one or more of the ResNet's strides (4, 8, 16), each once, "
            "got (4, 32).",
        ),
        (
            dict(strides=[]),
            "strides: expected one or more of the ResNet's strides (4, 8, 16), each once, "
            "got ().",
        ),
        (
            dict(strides=(8, 8)),
            "strides: expected one or more of the ResNet's strides (4, 8, 16), each once, "
            "got (8, 8).",
        ),
        (
            dict(vit=ViTSpec(patch_size=14)),
            "vit.patch_size: expected a multiple or a divisor of every fused stride "
            "(4, 8, 16), got 14.",
        ),
        (
            dict(resnet=ResNetSpec(blocks=())),
            "resnet: expected a ResNet with stages, got one without (size 'r'). "
            "Choose r26, r50, r101 or r152.",
        ),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError) as error:
        nnx.eval_shape(lambda: build(**options))
    assert str(error.value) == f"fusion 'bifusion': {message}"
