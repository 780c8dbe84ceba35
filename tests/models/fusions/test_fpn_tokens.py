"""`fpn_tokens`: its pyramid in float64, its places in pixels, its three attentions."""

import dataclasses

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.deformable import cell_centres_px
from hybrid_jax.models.fusions.fpn_tokens import FPN, FPNTokens
from hybrid_jax.specs import ResNetSpec

GRIDS = {8: (8, 12), 16: (4, 6), 32: (2, 3)}


def variant(**options):
    """Returns the fusion with other default options, as the guarantees want it."""

    class Variant(FPNTokens):
        def __init__(self, *specs, image_size, rngs):
            super().__init__(*specs, image_size=image_size, rngs=rngs, **options)

    return Variant


WINDOWED = variant(attention="windowed", window=3, channels=32)
DEFORMABLE = variant(attention="deformable", points=2, channels=32, levels=(16, 32))


def shapes(*, resnet=guarantees.RESNET, vit=guarantees.VIT, **options):
    """Describes the fusion without filling its parameters."""
    return nnx.eval_shape(
        lambda: FPNTokens(
            resnet, vit, image_size=(64, 96), rngs=nnx.Rngs(params=0), **options
        )
    )


def filled(module):
    graph, state = nnx.split(module)
    return nnx.merge(graph, random_like(state))


def test_fpn_equals_the_float64_one():
    spec = ResNetSpec(norm="batch")
    channels = {4: 5, 8: 6, 16: 7, 32: 8}
    module = nnx.eval_shape(
        lambda: FPN(spec, channels, 4, levels=(8, 16), rngs=nnx.Rngs(params=0))
    )
    graph, state = nnx.split(module)
    state = random_like(state)
    sizes = {4: (19, 26), 8: (10, 13), 16: (5, 7), 32: (3, 4)}
    rng = np.random.default_rng(0)
    maps = {s: rng.standard_normal((2, *sizes[s], channels[s])) for s in sizes}
    arrays = {s: jnp.asarray(x, jnp.float32) for s, x in maps.items()}
    ours = jax.jit(lambda s, x: nnx.merge(graph, s)(x, train=False))(state, arrays)
    p = as_float64(state)

    def conv_norm(x, p):
        x, norm = reference.conv(x, p["conv"]["kernel"], centred=True), p["norm"]
        x = (x - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
        return x * norm["scale"] + norm["bias"]

    summed = {}
    for index, stride in ((2, 32), (1, 16), (0, 8)):
        summed[stride] = conv_norm(maps[stride], p["lateral"][index])
        if stride < 32:
            for i, j in np.ndindex(sizes[stride]):
                summed[stride][:, i, j] += summed[2 * stride][:, i // 2, j // 2]
    assert list(ours) == [8, 16]
    for index, stride in enumerate((8, 16)):
        expected = conv_norm(summed[stride], p["smooth"][index])
        np.testing.assert_allclose(ours[stride], expected, atol=1e-4)


def test_sines_of_all_levels_are_of_places_in_pixels():
    vit = dataclasses.replace(guarantees.VIT, positions="sincos2d", patch_size=16)
    module = shapes(vit=vit)
    omega = 10_000.0 ** -np.linspace(0.0, 1.0, 12)
    for stride, hw in GRIDS.items():
        at = cell_centres_px(hw, stride).astype(np.float64) / 16 - 0.5
        angles = [at[:, :1] * omega, at[:, 1:] * omega]
        expected = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], 1)
        ours = module._positions(hw, stride).reshape(-1, 48)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_rotations_of_all_levels_are_of_places_in_the_image():
    vit = dataclasses.replace(guarantees.VIT, positions="rope2d")
    cosines, sines = shapes(vit=vit)._rotation(GRIDS)
    centres = [cell_centres_px(hw, stride) for stride, hw in GRIDS.items()]
    relative = 2.0 * np.concatenate(centres) / (96, 64) - 1.0  # (N, 2) as (x, y)
    assert cosines.shape == sines.shape == (96 + 24 + 6, 16)
    # The first of a head's pairs turns with the row, once over the period of one.
    np.testing.assert_allclose(cosines[:, 0], np.cos(2 * np.pi * relative[:, 1]), atol=1e-5)
    np.testing.assert_allclose(sines[:, 4], np.sin(2 * np.pi * relative[:, 0]), atol=1e-5)


def test_a_window_over_everything_is_full_attention():
    options = dict(levels=(32,), channels=32)
    windowed, full = (
        filled(shapes(attention=attention, **options)) for attention in ("windowed", "full")
    )
    forward = nnx.jit(lambda module, x: module(x))
    images = guarantees.example_images()
    one, other = forward(windowed, images), forward(full, images)
    np.testing.assert_allclose(one.maps[32], other.maps[32], atol=1e-4)
    np.testing.assert_allclose(one.pooled, other.pooled, atol=1e-4)


def test_points_without_offsets_read_the_place_of_the_query():
    """Tokens that hold their own place: every level answers with the query's."""
    module = filled(shapes(attention="deformable", channels=32))
    points = module.deformable[0]
    for kernel in (points.offsets.kernel, points.offsets.bias):
        kernel[...] = jnp.zeros_like(kernel[...])
    at = np.concatenate([cell_centres_px(hw, s) for s, hw in GRIDS.items()])
    cells = jnp.asarray(np.pad(at / 32.0, ((0, 0), (0, 46))), jnp.float32)[None]
    tokens = jnp.concatenate([jnp.ones((1, 1, 48)), cells], axis=1)

    @nnx.jit
    def attend(m, x):
        return m._attend_points(m.deformable[0], GRIDS)(m.vit.blocks[0].attn, x)

    ours = attend(module, tokens)[:, 1:]
    expected = points.out(points.value(cells))
    # Closer to the border, the coarsest level is asked for cells outside the image.
    inside = ((at >= 16) & (at <= (80, 48))).all(1)
    assert inside.sum() > 20
    np.testing.assert_allclose(ours[:, inside], expected[:, inside], atol=1e-4)


@pytest.mark.parametrize("fusion", [WINDOWED, DEFORMABLE], ids=["windowed", "deformable"])
def test_other_attention_keeps_the_promises(fusion):
    guarantees.check_contract(fusion, hw=(97, 131), dtype="bfloat16")
    for options in (
        dict(positions="rope2d", pool="attention", registers=2),
        dict(positions="sincos2d", pool="mean", remat=True),
    ):
        vit = dataclasses.replace(guarantees.VIT, **options)
        guarantees.check_contract(fusion, vit=vit, hw=(33, 65))
    guarantees.check_gradient_reaches_everything(fusion)


@pytest.mark.parametrize(("pool", "kept"), [("cls", 4), ("mean", 0)])
def test_attention_of_the_blocks_stays_only_for_a_class_token(pool, kept):
    vit = dataclasses.replace(guarantees.VIT, pool=pool, registers=2)
    names = names_and_leaves(nnx.state(shapes(vit=vit, attention="deformable")))
    assert sum(name.endswith("attn.qkv.kernel") for name in names) == kept
    assert "vit.registers" not in names


def test_windows_of_two_examples_do_not_mix():
    guarantees.check_examples_do_not_mix(WINDOWED)


@pytest.mark.parametrize("fusion", [WINDOWED, DEFORMABLE], ids=["windowed", "deformable"])
def test_gradients_pass_through_recomputed_blocks(fusion):
    vit = dataclasses.replace(guarantees.VIT, remat=True)
    built = guarantees.build(fusion, vit=vit)

    def loss(params, images):
        return built.apply(params, images, train=True, key=jax.random.key(0)).pooled.sum()

    gradients = jax.eval_shape(jax.grad(loss), built.params, guarantees.example_images())
    assert names_and_leaves(gradients).keys() == names_and_leaves(built.params).keys()


def test_levels_are_those_the_resnet_has_and_one_more_if_asked():
    assert shapes().channels == {4: 128, 8: 48, 16: 48, 32: 48}
    assert shapes(levels=[32, 16]).channels == {4: 128, 8: 256, 16: 48, 32: 48}
    more = shapes(levels=(16,), extra_level=True)
    assert more.channels == {4: 128, 8: 256, 16: 48, 32: 1024, 64: 48}
    guarantees.check_contract(variant(extra_level=True), hw=(200, 40))
    short = dataclasses.replace(guarantees.RESNET, blocks=(1, 1))
    assert shapes(resnet=short).channels == {4: 128, 8: 48}


def test_what_it_cannot_build_is_one_line():
    with pytest.raises(UserError, match=r"attention: expected 'full', .*got 'local'\."):
        shapes(attention="local")
    with pytest.raises(UserError, match=r"levels: expected some of 8, 16 and 32, got \(4,"):
        shapes(levels=(4, 8))
    short = dataclasses.replace(guarantees.RESNET, blocks=(1, 1))
    with pytest.raises(UserError, match=r"which has \(4, 8\), got \(16, 32\)\."):
        shapes(resnet=short, levels=(16, 32))
    for name in ("channels", "window", "points"):
        with pytest.raises(UserError, match=rf"{name}: expected 1 or more, got 0\."):
            shapes(**{name: 0})
