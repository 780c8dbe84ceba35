"""Levels as tokens and back; maps joined with a ViT's, against loops in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, random_like

from hybrid_jax.models.layers.conv_norm import NormSpec
from hybrid_jax.models.layers.token_pyramid import (
    JoinedPyramid,
    add_to_level,
    to_maps,
    to_tokens,
)

WIDTH = 6
# BatchNorm: running statistics stand in the state, and no groups need to be known.
NORM = NormSpec(norm="batch")
IMAGE = (41, 75)  # no multiple of any stride


def cells(stride):
    return tuple(math.ceil(side / stride) for side in IMAGE)


def example(strides):
    rng = np.random.default_rng(0)
    return {s: 1.0 + rng.standard_normal((2, *cells(s), WIDTH)) for s in strides}


def as_float32(tree):
    return jax.tree.map(jnp.float32, tree)


def finer(x, hw, factor):
    """Weighs the four coarse centers around each fine one; outside, the border's."""
    out = np.zeros((len(x), *hw, x.shape[-1]))
    for i, j in np.ndindex(*hw):
        row, column = ((n + 0.5) / factor - 0.5 for n in (i, j))
        for a, b in np.ndindex(2, 2):
            at = [math.floor(row) + a, math.floor(column) + b]
            weight = (1 - abs(row - at[0])) * (1 - abs(column - at[1]))
            at = [
                min(max(n, 0), side - 1) for n, side in zip(at, x.shape[1:3], strict=True)
            ]
            out[:, i, j] += weight * x[:, at[0], at[1]]
    return out


def coarser(x, hw, factor):
    """The mean of the cells that are there."""
    out = np.zeros((len(x), *hw, x.shape[-1]))
    for i, j in np.ndindex(*hw):
        rows, columns = (slice(n * factor, (n + 1) * factor) for n in (i, j))
        out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


def normalize(x, p, *, train):
    mean, var = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (p["mean"], p["var"])
    return (x - mean) / np.sqrt(var + 1e-5) * p["scale"] + p["bias"]


def build(strides, vit_stride):
    return JoinedPyramid(
        NORM, strides=strides, vit_stride=vit_stride, width=WIDTH, rngs=nnx.Rngs(params=0)
    )


@pytest.mark.parametrize(
    ("strides", "patch", "train"),
    [
        ((4, 8, 16, 32), 16, False),
        ((4, 8, 16, 32), 4, False),
        ((4, 8, 16, 32), 32, False),
        ((4, 8, 16), 8, True),
    ],
)
def test_joined_pyramid_equals_a_loop_over_cells(strides, patch, train):
    graph, state = nnx.split(nnx.eval_shape(lambda: build(strides, patch)))
    state = random_like(state)
    p = as_float64(state)
    maps, vit = example(strides), example([patch])[patch] * 0.7
    run = jax.jit(lambda state, *a: nnx.merge(graph, state)(*a, train=train))
    ours = run(state, as_float32(maps), jnp.float32(vit))
    assert set(ours) == set(strides)
    for index, stride in enumerate(strides):
        c = maps[stride]
        if stride == 4:
            c = c + finer(maps[8] @ p["lift"]["kernel"][0, 0], cells(4), 2)
        here = vit
        if stride < patch:
            here = finer(vit, cells(stride), patch // stride)
        elif stride > patch:
            here = coarser(vit, cells(stride), stride // patch)
        expected = here + normalize(c, p["norms"][index], train=train)
        np.testing.assert_allclose(ours[stride], expected, atol=2e-5)


def test_joined_pyramid_starts_silent_at_the_vits_stride_alone():
    strides = (4, 8, 16, 32)
    maps, vit = as_float32(example(strides)), jnp.ones((2, *cells(16), WIDTH))
    joined = nnx.jit(lambda m, *a: m(*a, train=False))(build(strides, 16), maps, vit)
    for stride, x in joined.items():
        difference = np.abs(x - 1.0).max()
        assert difference == 0.0 if stride == 16 else difference > 0.1, stride


def test_tokens_of_levels_come_back_as_they_went():
    shapes = {8: (3, 5), 16: (2, 3), 32: (1, 2)}
    rng = np.random.default_rng(0)
    maps = {s: jnp.asarray(rng.standard_normal((2, *hw, 4))) for s, hw in shapes.items()}
    tokens = to_tokens(maps)
    assert tokens.shape == (2, 15 + 6 + 2, 4)
    np.testing.assert_array_equal(tokens[:, 15 + 4], maps[16][:, 1, 1])
    back = to_maps(add_to_level(tokens, maps[16], shapes=shapes, stride=16), shapes)
    for stride, x in maps.items():
        np.testing.assert_array_equal(back[stride], 2 * x if stride == 16 else x)
