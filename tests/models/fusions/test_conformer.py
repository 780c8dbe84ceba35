"""The whole coupling again in float64 numpy, block by block, at sizes that fit nothing."""

import dataclasses
import math

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.conformer import Conformer, blocks_read
from hybrid_jax.specs import ResNetSpec, ViTSpec

RESNET = ResNetSpec(blocks=(2, 1, 1), width=32)
VIT = ViTSpec(width=24, depth=4, num_heads=3, mlp_dim=40, patch_size=8)
SIZE = (37, 43)


def build(resnet=RESNET, vit=VIT, size=SIZE):
    module = nnx.eval_shape(
        lambda: Conformer(resnet, vit, image_size=size, rngs=nnx.Rngs(params=0))
    )
    return nnx.split(module)


def _embed(images, p, patch):
    H, W = images.shape[1:3]
    images = np.pad(images, ((0, 0), (0, -H % patch), (0, -W % patch), (0, 0)))
    rows = []
    for top in range(0, H, patch):
        for left in range(0, W, patch):
            window = images[:, top : top + patch, left : left + patch]
            token = np.einsum("bijc,ijcd->bd", window, p["embed"]["kernel"])
            rows.append(token + p["embed"]["bias"])
    tokens = np.stack(rows, 1) + p["position"].reshape(len(rows), -1)
    cls = np.broadcast_to(p["cls"] + p["cls_position"], (len(images), 1, tokens.shape[-1]))
    return np.concatenate([cls, tokens], 1)


def _bring(x, hw, old, new):
    """Looks up, for each new cell, the old cells that lie in it or it lies in."""
    out = np.empty((len(x), *hw, x.shape[-1]))
    for i in range(hw[0]):
        for j in range(hw[1]):
            rows, columns = (
                slice(n * new // old, max((n + 1) * new // old, n * new // old + 1))
                for n in (i, j)
            )
            out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


def _reference(images, p, *, blocks, patch, heads, reads, shares):
    """One pass; `reads` are ResNet blocks counted from 0, `shares` their ViT blocks."""
    net = reference.ResNet(p["resnet"], blocks=blocks, norm="group")
    hw = tuple(math.ceil(side / patch) for side in images.shape[1:3])
    tokens = _embed(images, p["vit"], patch)
    stem = p["resnet"]["stem"]
    x = net.conv(images, stem["conv"], stride=2)
    x = reference.max_pool(reference.relu(net.norm(x, stem["norm"])), centered=False)
    answer, maps, number, stride = None, {}, 0, 4
    for stage, depth in enumerate(blocks):
        for index in range(depth):
            b = p["resnet"]["stages"][stage]["blocks"][index]
            step = 2 if stage and not index else 1
            y = reference.relu(net.norm(net.conv(x, b["conv1"]), b["norm1"]))
            if answer is not None:
                y = y + _bring(answer, y.shape[1:3], patch, stride)
                answer = None
            y = net.conv(y, b["conv2"], stride=step)
            y = reference.relu(net.norm(y, b["norm2"]))
            stride *= step
            if number in reads:
                unit = reads.index(number)
                d = _bring(y, hw, stride, patch)
                down = p["downs"][unit]
                d = reference.layer_norm(reference.linear(d, down["project"]), down["norm"])
                d = reference.gelu(d, "tanh")
                tokens[:, 1:] += d.reshape(len(d), -1, d.shape[-1])
                for at in shares[unit]:
                    tokens = reference.block(
                        tokens, p["vit"]["blocks"][at], heads=heads, form="tanh", eps=1e-6
                    )
                if unit < len(p.get("ups", ())):
                    up = p["ups"][unit]
                    grid = tokens[:, 1:].reshape(len(x), *hw, -1)
                    e = reference.conv(grid, up["conv"]["kernel"])
                    e = reference.map_norm(e, up["norm"])
                    answer = reference.relu(e)
            if "downsample" in b:
                x = net.conv(x, b["downsample"]["conv"], stride=step)
                x = net.norm(x, b["downsample"]["norm"])
            x = reference.relu(x + net.norm(net.conv(y, b["conv3"]), b["norm3"]))
            maps[stride] = x
            number += 1
    tokens = reference.layer_norm(tokens, p["vit"]["norm"])
    pooled = np.concatenate([x.mean((1, 2)), tokens[:, 0]], -1)
    grid = tokens[:, 1:].reshape(len(x), *hw, -1)
    if patch in maps:
        grid = np.concatenate([maps[patch], grid], -1)
    return maps | {patch: grid}, pooled


@pytest.mark.parametrize(
    ("blocks", "depth", "patch", "reads", "shares"),
    [
        # One block a unit; finer, equal and coarser than the patches, both ways.
        ((1, 1, 1), 3, 8, (0, 1, 2), ((0,), (1,), (2,))),
        # The same lines, without a map that is finer than the patches.
        pytest.param(
            *((2, 1, 1), 4, 4, (0, 1, 2, 3), ((0,), (1,), (2,), (3,))),
            marks=pytest.mark.slow,
        ),
        # The paper's pairing: the first of two bottlenecks is read, the second answered.
        ((2, 2), 2, 16, (0, 2), ((0,), (1,))),
        # Fewer ResNet blocks than transformer blocks, no whole number each.
        ((1, 1), 3, 8, (0, 1), ((0,), (1, 2))),
    ],
)
def test_conformer_equals_reference(blocks, depth, patch, reads, shares):
    vit = dataclasses.replace(VIT, depth=depth, patch_size=patch)
    graph, state = build(dataclasses.replace(RESNET, blocks=blocks), vit)
    assert nnx.merge(graph, state).reads == reads
    state = random_like(state)
    images = np.random.default_rng(0).standard_normal((2, *SIZE, 3))
    ours = jax.jit(lambda s, x: nnx.merge(graph, s)(x))(state, jnp.float32(images))
    maps, pooled = _reference(
        images,
        as_float64(state),
        blocks=blocks,
        patch=patch,
        heads=3,
        reads=reads,
        shares=shares,
    )
    assert sorted(maps) == list(ours.maps)
    for stride, expected in maps.items():
        np.testing.assert_allclose(
            ours.maps[stride], expected, atol=5e-5 * np.abs(expected).max()
        )
    np.testing.assert_allclose(ours.pooled, pooled, atol=5e-5 * np.abs(pooled).max())


def test_units_of_common_sizes_are_spread_evenly():
    assert blocks_read(24, 12) == tuple(range(0, 24, 2))
    assert blocks_read(8, 12) == tuple(range(8))
    assert blocks_read(16, 12) == (0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14)


@pytest.mark.parametrize(
    ("resnet", "vit", "message"),
    [
        (
            dict(blocks=()),
            {},
            "resnet: expected a ResNet with stages, got one without (size 'r'). "
            "Choose r26, r50, r101 or r152.",
        ),
        (
            {},
            dict(patch_size=12),
            "vit.patch_size: expected a multiple or a divisor of each of the ResNet's "
            "strides (4, 8, 16), got 12.",
        ),
    ],
)
def test_bad_specs_are_one_line(resnet, vit, message):
    with pytest.raises(UserError) as error:
        build(dataclasses.replace(RESNET, **resnet), dataclasses.replace(VIT, **vit))
    assert str(error.value).partition("\n---")[0] == f"fusion 'conformer': {message}"
