"""`botnet` against numpy in float64: a ResNet whose last blocks attend pair by pair."""

import dataclasses
import math

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like
from scipy import special

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.botnet import BoTNet
from hybrid_jax.specs import ResNetSpec, ViTSpec

SPEC = ResNetSpec(blocks=(1, 2), width=32)
HW = (20, 28)  # 5 x 7 cells at stride 4, 3 x 4 at stride 8: borders with half windows


def build(*, resnet=SPEC, image_size=HW, **options):
    return BoTNet(
        resnet, ViTSpec(), image_size=image_size, rngs=nnx.Rngs(params=0), **options
    )


def attend(x, p, *, heads, stride):
    """Every cell of (B, h, w, C) to every other, one pair at a time; then 2x2 means."""
    B, h, w, C = x.shape
    d = C // heads
    query, key, value = np.split(x @ p["qkv"]["kernel"][0, 0], 3, axis=-1)
    y = np.zeros_like(x)
    for i, j in np.ndindex(h, w):
        for head in range(heads):
            at = slice(head * d, head * d + d)
            q = query[:, i, j, at]
            logits = np.zeros((B, h, w))
            for k, m in np.ndindex(h, w):
                r = p["rows"][k - i + h - 1] + p["columns"][m - j + w - 1]
                logits[:, k, m] = (q * key[:, k, m, at]).sum(-1) / np.sqrt(d) + q @ r
            weights = special.softmax(logits, axis=(1, 2))
            y[:, i, j, at] = np.einsum("bkm,bkmd->bd", weights, value[..., at])
    if stride == 1:
        return y
    pooled = np.zeros((B, math.ceil(h / 2), math.ceil(w / 2), C))
    for i, j in np.ndindex(pooled.shape[1:3]):
        pooled[:, i, j] = y[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))
    return pooled


class Reference(reference.ResNet):
    """Attends where the second convolution is missing."""

    def __init__(self, params, attention, **options):
        super().__init__(params, **options)
        self.attention = iter(attention)

    def bottleneck(self, x, p, *, stride, dilation):
        if "conv2" in p:
            return super().bottleneck(x, p, stride=stride, dilation=dilation)
        y = reference.relu(self.norm(self.conv(x, p["conv1"]), p["norm1"]))
        y = attend(y, next(self.attention), heads=4, stride=stride)
        y = reference.relu(self.norm(y, p["norm2"]))
        y = self.norm(self.conv(y, p["conv3"]), p["norm3"])
        if "downsample" in p:
            shortcut = self.conv(x, p["downsample"]["conv"], stride=stride)
            x = self.norm(shortcut, p["downsample"]["norm"])
        return reference.relu(x + y)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_botnet_equals_float64(norm):
    spec = dataclasses.replace(SPEC, norm=norm)
    graph, state = nnx.split(nnx.eval_shape(lambda: build(resnet=spec)))
    state = random_like(state)
    images = np.random.default_rng(1).standard_normal((2, *HW, 3))
    features = jax.jit(lambda s, x: nnx.merge(graph, s)(x))(state, jnp.float32(images))
    pure = as_float64(state)
    attention = [pure["attention"][index] for index in range(2)]
    expected = Reference(pure["resnet"], attention, blocks=(1, 2), norm=norm)(images)
    for ours, theirs in zip(features.maps.values(), expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())
    pooled = expected[-1].mean((1, 2))
    np.testing.assert_allclose(features.pooled, pooled, atol=1e-4 * np.abs(pooled).max())


@pytest.mark.parametrize(
    ("options", "convolutions"),
    [
        ({}, [(0, 0), (1, 0), (1, 1), (2, 0)]),
        ({"replaced": 1, "stages": 2}, [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]),
        ({"replaced": 9, "stages": 3}, []),
    ],
)
def test_blocks_are_counted_from_the_end_of_each_stage(options, convolutions):
    spec = dataclasses.replace(SPEC, blocks=(1, 2, 4))
    module = nnx.eval_shape(lambda: build(resnet=spec, **options))
    names = names_and_leaves(nnx.state(module))
    kept = [
        (stage, block)
        for stage, count in enumerate(spec.blocks)
        for block in range(count)
        if f"resnet.stages.{stage}.blocks.{block}.conv2.kernel" in names
    ]
    assert kept == convolutions
    assert len(module.attention) == 7 - len(kept)


@pytest.mark.parametrize(("output_stride", "second"), [(32, (4, 6)), (16, (7, 12))])
def test_tables_are_made_for_the_grid_a_block_receives(output_stride, second):
    spec = dataclasses.replace(SPEC, blocks=(1, 1, 1, 2), output_stride=output_stride)
    module = nnx.eval_shape(lambda: build(resnet=spec, image_size=(100, 190)))
    # 100 x 190 px are 7 x 12 cells of 16 px and 4 x 6 of 32 px.
    for attention, (h, w) in zip(module.attention, ((7, 12), second), strict=True):
        assert attention.rows.shape == (2 * h - 1, 64)
        assert attention.columns.shape == (2 * w - 1, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(replaced=0), "replaced: expected 1 or more blocks, got 0."),
        (
            dict(stages=3),
            "stages: expected 1 to 2, the number of stages of the ResNet, got 3.",
        ),
        (
            dict(num_heads=5),
            "num_heads: expected a divisor of the bottleneck width 64, got 5.",
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
        build(**options)
    assert str(error.value) == f"fusion 'botnet': {message}"
