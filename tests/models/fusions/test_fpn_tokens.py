"""`fpn_tokens`: its tokens in float64, its places in pixels, its three attentions."""

import dataclasses

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like
from scipy.ndimage import map_coordinates

from hybrid_jax.errors import UserError
from hybrid_jax.models.deformable import cell_centres_px
from hybrid_jax.models.fusions.fpn_tokens import FPNTokens

GRIDS = {8: (8, 12), 16: (4, 6), 32: (2, 3)}
# Of a 97 x 131 image; its 16 px patches cover 112 x 144, two of its levels more.
ODD_GRIDS = {8: (13, 17), 16: (7, 9), 32: (4, 5)}


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
    options = dict(image_size=(64, 96)) | options
    return nnx.eval_shape(
        lambda: FPNTokens(resnet, vit, rngs=nnx.Rngs(params=0), **options)
    )


def filled(module):
    graph, state = nnx.split(module)
    return nnx.merge(graph, random_like(state))


def rotated(attend, angles):
    """Turns queries and keys as complex numbers before `attend`, class token aside."""
    turn = np.concatenate([np.zeros((1, angles.shape[1])), angles])[:, None]

    def rotate(x):
        first, second = np.split(x, 2, axis=-1)
        turned = (first + 1j * second) * np.exp(1j * turn)
        return np.concatenate([turned.real, turned.imag], axis=-1)

    return lambda query, key, value: attend(rotate(query), rotate(key), value)


@pytest.mark.parametrize("positions", ["learned", "sincos2d", "rope2d"])
def test_tokens_equal_the_float64_ones(positions, monkeypatch):
    """From the pyramid's levels to maps and pooled, at a size that is no multiple."""
    sizes = {8: (5, 9), 16: (3, 5), 32: (2, 3)}
    vit = dataclasses.replace(guarantees.VIT, positions=positions, depth=2)
    module = shapes(vit=vit, channels=32, image_size=(33, 65))
    graph, state = nnx.split(module)
    state = random_like(state)

    @guarantees.quick_jit
    def forward(state, images):
        m = nnx.merge(graph, state)
        return m.fpn(m.resnet(images, train=False), train=False), m(images)

    pyramid, features = forward(state, guarantees.example_images((33, 65)))
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
    vit = dataclasses.replace(guarantees.VIT, positions="sincos2d", patch_size=16)
    module = shapes(vit=vit)
    omega = 10_000.0 ** -np.linspace(0.0, 1.0, 12)
    for stride, hw in ODD_GRIDS.items():
        at = cell_centres_px(hw, stride).astype(np.float64) / 16 - 0.5
        angles = [at[:, :1] * omega, at[:, 1:] * omega]
        expected = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], 1)
        ours = module._positions(hw, stride, (112, 144)).reshape(-1, 48)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("grids", "extent_px"), [(GRIDS, (64, 96)), (ODD_GRIDS, (112, 144))]
)
def test_rotations_of_all_levels_are_of_places_in_the_image(grids, extent_px):
    vit = dataclasses.replace(guarantees.VIT, positions="rope2d")
    cosines, sines = shapes(vit=vit)._rotation(grids, extent_px)
    centres = [cell_centres_px(hw, stride) for stride, hw in grids.items()]
    # (N, 2) as (x, y)
    relative = 2.0 * np.concatenate(centres) / extent_px[::-1] - 1.0
    assert cosines.shape == sines.shape == (len(relative), 16)
    # The first of a head's pairs turns with the row, once over the period of one.
    np.testing.assert_allclose(cosines[:, 0], np.cos(2 * np.pi * relative[:, 1]), atol=1e-5)
    np.testing.assert_allclose(sines[:, 4], np.sin(2 * np.pi * relative[:, 0]), atol=1e-5)


def test_learned_positions_of_all_levels_are_of_places_in_pixels():
    """A grid that holds its cells' centres in pixels: every level reads its own."""
    module = shapes(image_size=(97, 131))
    ramp = (np.stack(np.mgrid[:7, :9], -1) + 0.5) * 16.0
    module.vit.position = nnx.Param(jnp.asarray(ramp, jnp.float32))
    for stride, hw in ODD_GRIDS.items():
        ours = module._positions(hw, stride, (112, 144))
        expected = cell_centres_px(hw, stride)[:, ::-1].reshape(*hw, 2)
        # Past the centres of the outermost patches there is nothing to blend with.
        expected = np.clip(expected, 8.0, (104.0, 136.0))
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["corner_linear", "bilinear", "bicubic_aa"])
def test_learned_positions_at_the_patch_stride_are_the_vits(method):
    vit = dataclasses.replace(guarantees.VIT, position_resize=method)
    module = filled(shapes(vit=vit))
    expected = module.vit._positions((7, 9))
    ours = module._positions((7, 9), 16, (112, 144))
    np.testing.assert_allclose(ours, expected, atol=1e-6)


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


def test_discrete_points_read_whole_cells():
    """Between cells the two differ; at whole cells from a centre there is no blend."""
    options = dict(attention="deformable", levels=(32,), channels=32)
    bilinear, discrete = (
        filled(shapes(sampling=sampling, **options))
        for sampling in ("bilinear", "discrete")
    )
    tokens = np.random.default_rng(0).standard_normal((1, 7, 48))
    tokens = jnp.asarray(tokens, jnp.float32)

    def attend(module):
        run = module._attend_points(module.deformable[0], {32: (2, 3)})
        return run(module.vit.blocks[0].attn, tokens)

    # Random offsets lie between cells.
    assert np.abs(attend(bilinear) - attend(discrete)).max() > 1e-2
    for module in (bilinear, discrete):
        offsets = module.deformable[0].offsets
        offsets.kernel[...] = jnp.zeros_like(offsets.kernel[...])
        offsets.bias[...] = jnp.round(4.0 * offsets.bias[...])
    np.testing.assert_allclose(attend(bilinear), attend(discrete), atol=1e-5)


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
def test_recomputed_blocks_give_the_same_gradients(fusion):
    def gradients(*, remat):
        vit = dataclasses.replace(guarantees.VIT, depth=2, remat=remat)
        graph, state = nnx.split(guarantees.build(fusion, vit=vit).module)

        @guarantees.quick_jit
        def gradient(state, x, key):
            def reading(state, x):
                module = nnx.merge(graph, state)
                y = module._encode(x, grids, rotation=None, key=key)
                return jnp.square(y - target).sum()

            return jax.grad(reading, argnums=(0, 1))(state, x)

        of_state, of_x = gradient(random_like(state), tokens, jax.random.key(3))
        named = names_and_leaves(of_state)
        blocks = {name: g for name, g in named.items() if "blocks" in name}
        return blocks | {"tokens": of_x}

    grids = {s: GRIDS[s] for s in guarantees.build(fusion).module.levels}
    shape = (2, 1 + sum(h * w for h, w in grids.values()), 48)
    rng = np.random.default_rng(0)
    tokens, target = jnp.asarray(rng.standard_normal((2, *shape)), jnp.float32)
    plain, recomputed = gradients(remat=False), gradients(remat=True)
    assert plain.keys() == recomputed.keys()
    largest = max(float(jnp.abs(g).max()) for g in plain.values())
    assert float(jnp.abs(plain["vit.blocks.1.mlp.fc1.kernel"]).max()) > 1e-3 * largest
    for name, expected in plain.items():
        np.testing.assert_allclose(
            recomputed[name], expected, atol=1e-5 * largest, err_msg=name
        )


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
    with pytest.raises(UserError, match=r"sampling: expected 'bilinear' or .*'cubic'\."):
        shapes(sampling="cubic")
    some = r"levels: expected some of"
    for wrong in ((4, 8), (), 16):
        with pytest.raises(UserError, match=rf"{some} \(8, 16, 32\), .*got [(1]"):
            shapes(levels=wrong)
    short = dataclasses.replace(guarantees.RESNET, blocks=(1, 1))
    with pytest.raises(UserError, match=rf"{some} \(8,\), .*\(8, 16\)\."):
        shapes(resnet=short, levels=(8, 16))
    stem = dataclasses.replace(guarantees.RESNET, blocks=())
    with pytest.raises(UserError, match=r"with stride 8, 16 or 32, got one with \(4,\)\."):
        shapes(resnet=stem)
    for name in ("channels", "window", "points"):
        with pytest.raises(UserError, match=rf"{name}: expected 1 or more, got 0\."):
            shapes(**{name: 0})
