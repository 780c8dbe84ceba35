"""`simple_fpn` against numpy in float64: transposed convolutions as loops over cells."""

import dataclasses

import float64_reference as reference
import jax
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.simple_fpn import SimpleFPN
from hybrid_jax.specs import ResNetSpec, ViTSpec

VIT = ViTSpec(width=32, depth=1, num_heads=2, mlp_dim=48)
HW = (40, 72)  # a grid of 3 x 5 patches, the last of each side partly outside


def build(*, vit=VIT, **options):
    return SimpleFPN(ResNetSpec(), vit, image_size=HW, rngs=nnx.Rngs(params=0), **options)


def transposed(x, kernel):
    """2x2, stride 2: every cell adds its four products where they belong."""
    B, h, w, _ = x.shape
    kernel = kernel.reshape(x.shape[-1], 2, 2, -1)
    y = np.zeros((B, 2 * h, 2 * w, kernel.shape[-1]))
    for i, j, a, b in np.ndindex(h, w, 2, 2):
        y[:, 2 * i + a, 2 * j + b] += x[:, i, j] @ kernel[:, a, b]
    return y


def norm(x, p):
    return reference.map_norm(x, p)


def level(x, p, hw, *, form):
    for number, up in enumerate(p.get("ups", {}).values()):
        if number:
            x = reference.gelu(norm(x, p["norms"][number - 1]), form)
        x = transposed(x, up["conv"]["kernel"])
    x = x[:, : hw[0], : hw[1]]
    for name in ("reduce", "smooth"):
        x = reference.conv(x, p[name]["conv"]["kernel"], centered=True)
        x = norm(x, p[name]["norm"])
    return x


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_every_map_equals_the_float64_one(form):
    vit = dataclasses.replace(VIT, gelu=form)
    graph, state = nnx.split(nnx.eval_shape(lambda: build(vit=vit, channels=24)))
    state = random_like(state)
    images = jax.random.normal(jax.random.key(1), (2, *HW, 3))

    @jax.jit
    def forward(state, images):
        module = nnx.merge(graph, state)
        return module(images).maps, module.vit(images, train=False)[0]

    maps, z = forward(state, images)
    z, levels = np.asarray(z, np.float64), as_float64(state)["levels"]
    pooled = np.zeros((2, 2, 3, 32))
    for i, j in np.ndindex(2, 3):
        cells = z[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        pooled[:, i, j] = cells.mean((1, 2))
    expected = {
        4: level(z, levels[0], (10, 18), form=form),
        8: level(z, levels[1], (5, 9), form=form),
        16: z + level(z, levels[2], (3, 5), form=form),
        32: level(pooled, levels[3], (2, 3), form=form),
    }
    assert list(maps) == list(expected)
    for stride, array in expected.items():
        np.testing.assert_allclose(maps[stride], array, atol=1e-4, err_msg=f"{stride}")


@pytest.mark.parametrize(
    ("patch", "channels"),
    [
        (8, {4: 256, 8: 32, 16: 256}),
        (16, {4: 256, 8: 256, 16: 32, 32: 256}),
        (32, {8: 256, 16: 256, 32: 32}),
    ],
)
def test_strides_follow_the_patch_size(patch, channels):
    vit, seen = dataclasses.replace(VIT, patch_size=patch), []

    def run(images):
        seen.append(build(vit=vit))
        return seen[0](images).maps

    maps = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 50, 70, 3), np.float32))
    assert seen[0].channels == channels
    assert list(maps) == list(channels)
    for stride, array in maps.items():
        assert array.shape == (1, -(-50 // stride), -(-70 // stride), channels[stride])


def test_what_it_cannot_build_is_one_line():
    with pytest.raises(UserError, match=r"vit.patch_size: expected 8, 16 or 32, got 14\."):
        build(vit=dataclasses.replace(VIT, patch_size=14))
    with pytest.raises(UserError, match=r"channels: expected 1 or more, got 0\."):
        build(channels=0)
    with pytest.raises(UserError, match=r"vit.width: expected a multiple of 4 .*got 30\."):
        build(vit=dataclasses.replace(VIT, width=30))
