"""`fpn_tokens`: its tokens in float64, its places in pixels, its levels."""

import dataclasses

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from parameters import as_float64, random_like
from scipy.ndimage import map_coordinates
from small_fpn_tokens import GRIDS, filled, shapes, variant

from hybrid_jax.errors import UserError
from hybrid_jax.models.layers.deformable import cell_centers_px

# Of a 97 x 131 image; its 16 px patches cover 112 x 144, two of its levels more.
ODD_GRIDS = {8: (13, 17), 16: (7, 9), 32: (4, 5)}


def rotated(attend, angles):
    """Turns queries and keys as complex numbers before `attend`, class token aside."""
    turn = np.concatenate([np.zeros((1, angles.shape[1])), angles])[:, None]

    def rotate(x):
        first, second = np.split(x, 2, axis=-1)
        turned = (first + 1j * second) * np.exp(1j * turn)
        return np.concatenate([turned.real, turned.imag], axis=-1)

    return lambda query, key, value: attend(rotate(query), rotate(key), value)


# Sines pass the lines of learned positions; their values are tested below.
@pytest.mark.parametrize(
    "positions", ["learned", pytest.param("sincos2d", marks=pytest.mark.slow), "rope2d"]
)
def test_tokens_equal_the_float64_ones(positions, monkeypatch):
    """From the pyramid's levels to maps and pooled, at a size that is no multiple."""
    sizes = {8: (5, 9), 16: (3, 5), 32: (2, 3)}
    vit = dataclasses.replace(small_fusion.VIT, positions=positions, depth=2)
    module = shapes(vit=vit, channels=32, image_size=(33, 65))
    graph, state = nnx.split(module)
    state = random_like(state)

    @jax.jit
    def forward(state, images):
        m = nnx.merge(graph, state)
        return m.fpn(m.resnet(images, train=False), train=False), m(images)

    pyramid, features = forward(state, small_fusion.example_images((33, 65)))
    p = as_float64(state)
    v, tokens, at_px = p["vit"], [], []
    for index, (stride, hw) in enumerate(sizes.items()):
        x = np.asarray(pyramid[stride], np.float64).reshape(2, -1, 32)
        x = x @ v["embed"]["kernel"][0, 0] + v["embed"]["bias"] + p["level"][index]
        at_px += [((i + 0.5) * stride, (j + 0.5) * stride) for i, j in np.ndindex(*hw)]
        tokens.append(x)
    x, at_px = np.concatenate(tokens, axis=1), np.array(at_px)
    cls = v["cls"]
    if positions == "learned":
        cls = cls + v["cls_position"]
        at = np.clip(at_px / 16 - 0.5, 0.0, (2.0, 4.0)).T
        x += np.stack(
            [map_coordinates(v["position"][..., c], at, order=1) for c in range(48)], -1
        )
    if positions == "sincos2d":
        angles = (at_px / 16 - 0.5)[..., None] * 10_000.0 ** -np.linspace(0.0, 1.0, 12)
        rows, columns = angles[:, 0], angles[:, 1]
        x += np.concatenate([f(a) for a in (columns, rows) for f in (np.sin, np.cos)], 1)
    if positions == "rope2d":
        relative = 2.0 * at_px / (48, 80) - 1.0
        angles = relative[..., None] * 2.0 * np.pi / 100.0 ** (np.arange(4) / 4)
        attend = rotated(reference.attend, angles.reshape(len(x[0]), 8))
        monkeypatch.setattr(reference, "attend", attend)
    x = np.concatenate([np.broadcast_to(cls, (2, 1, 48)), x], axis=1)
    for block in range(2):
        x = reference.block(x, v["blocks"][block], heads=3, form="tanh", eps=1e-6)
    x = reference.layer_norm(x, v["norm"])
    np.testing.assert_allclose(features.pooled, x[:, 0], atol=1e-4)
    levels = np.split(x[:, 1:], [45, 60], axis=1)
    for (stride, hw), level in zip(sizes.items(), levels, strict=True):
        expected = level.reshape(2, *hw, 48)
        np.testing.assert_allclose(features.maps[stride], expected, atol=1e-4)


def test_sines_of_all_levels_are_of_places_in_pixels():
    vit = dataclasses.replace(small_fusion.VIT, positions="sincos2d", patch_size=16)
    module = shapes(vit=vit)
    omega = 10_000.0 ** -np.linspace(0.0, 1.0, 12)
    for stride, hw in ODD_GRIDS.items():
        at = cell_centers_px(hw, stride).astype(np.float64) / 16 - 0.5
        angles = [at[:, :1] * omega, at[:, 1:] * omega]
        expected = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], 1)
        ours = module._positions(hw, stride, (112, 144)).reshape(-1, 48)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("grids", "extent_px"), [(GRIDS, (64, 96)), (ODD_GRIDS, (112, 144))]
)
def test_rotations_of_all_levels_are_of_places_in_the_image(grids, extent_px):
    vit = dataclasses.replace(small_fusion.VIT, positions="rope2d")
    cosines, sines = shapes(vit=vit)._rotation(grids, extent_px)
    centers = [cell_centers_px(hw, stride) for stride, hw in grids.items()]
    # (N, 2) as (x, y)
    relative = 2.0 * np.concatenate(centers) / extent_px[::-1] - 1.0
    assert cosines.shape == sines.shape == (len(relative), 16)
    # The first of a head's pairs turns with the row, once over the period of one.
    np.testing.assert_allclose(cosines[:, 0], np.cos(2 * np.pi * relative[:, 1]), atol=1e-5)
    np.testing.assert_allclose(sines[:, 4], np.sin(2 * np.pi * relative[:, 0]), atol=1e-5)


def test_learned_positions_of_all_levels_are_of_places_in_pixels():
    """A grid that holds its cells' centers in pixels: every level reads its own."""
    module = shapes(image_size=(97, 131))
    ramp = (np.stack(np.mgrid[:7, :9], -1) + 0.5) * 16.0
    module.vit.position = nnx.Param(jnp.asarray(ramp, jnp.float32))
    for stride, hw in ODD_GRIDS.items():
        ours = module._positions(hw, stride, (112, 144))
        expected = cell_centers_px(hw, stride)[:, ::-1].reshape(*hw, 2)
        # Past the centers of the outermost patches there is nothing to blend with.
        expected = np.clip(expected, 8.0, (104.0, 136.0))
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["corner_linear", "bilinear", "bicubic_aa"])
def test_learned_positions_at_the_patch_stride_are_the_vits(method):
    vit = dataclasses.replace(small_fusion.VIT, position_resize=method)
    module = filled(shapes(vit=vit))
    expected = module.vit._positions((7, 9))
    ours = module._positions((7, 9), 16, (112, 144))
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_levels_are_those_the_resnet_has_and_one_more_if_asked():
    assert shapes().channels == {4: 128, 8: 48, 16: 48, 32: 48}
    assert shapes(strides=[32, 16]).channels == {4: 128, 8: 256, 16: 48, 32: 48}
    more = shapes(strides=(16,), extra_level=True)
    assert more.channels == {4: 128, 8: 256, 16: 48, 32: 1024, 64: 48}
    vit = dataclasses.replace(small_fusion.VIT, depth=1)
    guarantees.check_contract(variant(extra_level=True), vit=vit, hw=(200, 40))
    short = dataclasses.replace(small_fusion.RESNET, blocks=(1, 1))
    assert shapes(resnet=short).channels == {4: 128, 8: 48}


def test_what_it_cannot_build_is_one_line():
    with pytest.raises(UserError, match=r"attention: expected 'full', .*got 'local'\."):
        shapes(attention="local")
    with pytest.raises(UserError, match=r"sampling: expected 'bilinear' or .*'cubic'\."):
        shapes(sampling="cubic")
    some = r"strides: expected one or more of the ResNet's strides"
    for wrong in ((4, 8), (), 16):
        with pytest.raises(UserError, match=rf"{some} \(8, 16, 32\), got [(1]"):
            shapes(strides=wrong)
    short = dataclasses.replace(small_fusion.RESNET, blocks=(1, 1))
    with pytest.raises(UserError, match=rf"{some} \(8,\), got \(8, 16\)\."):
        shapes(resnet=short, strides=(8, 16))
    stem = dataclasses.replace(small_fusion.RESNET, blocks=())
    with pytest.raises(
        UserError, match=r"stride 8, 16 or 32, got one with strides \(4,\)\."
    ):
        shapes(resnet=stem)
    for name in ("channels", "window_size", "num_points"):
        with pytest.raises(UserError, match=rf"{name}: expected 1 or more, got 0\."):
            shapes(**{name: 0})
