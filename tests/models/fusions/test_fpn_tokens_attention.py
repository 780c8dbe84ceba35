"""`fpn_tokens`: attention in windows and at points, against full attention and by place.

The last block attends to everything, so that windows take two blocks.
"""

import dataclasses

import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from parameters import names_and_leaves, random_like
from small_fpn_tokens import GRIDS, filled, shapes, variant

from hybrid_jax.models.layers.deformable import cell_centers_px

SHORT = dataclasses.replace(small_fusion.RESNET, blocks=(1, 1, 1))
WINDOWED = variant(attention="windowed", window_size=3, channels=32, strides=(8, 16))
DEFORMABLE = variant(attention="deformable", num_points=2, channels=32, strides=(8, 16))


def test_a_window_over_everything_is_full_attention():
    vit = dataclasses.replace(small_fusion.VIT, depth=2)
    options = dict(strides=(16,), channels=32, resnet=SHORT, vit=vit)
    windowed, full = (
        filled(shapes(attention=attention, **options)) for attention in ("windowed", "full")
    )
    forward = nnx.jit(lambda module, x: module(x))
    images = small_fusion.example_images()
    one, other = forward(windowed, images), forward(full, images)
    np.testing.assert_allclose(one.maps[16], other.maps[16], atol=1e-4)
    np.testing.assert_allclose(one.pooled, other.pooled, atol=1e-4)


def test_discrete_points_read_whole_cells():
    """Between cells the two differ; at whole cells from a center there is no blend."""
    options = dict(attention="deformable", strides=(32,), channels=32)
    bilinear, discrete = (
        filled(shapes(sampling=sampling, **options))
        for sampling in ("bilinear", "discrete")
    )
    tokens = np.random.default_rng(0).standard_normal((1, 7, 48))
    tokens = jnp.asarray(tokens, jnp.float32)

    @nnx.jit
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
    at = np.concatenate([cell_centers_px(hw, s) for s, hw in GRIDS.items()])
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
    odd = dict(hw=(97, 131), dtype="bfloat16")
    guarantees.check_contract(fusion, **odd)
    guarantees.check_everything_is_read(fusion, **odd)
    for options in (
        dict(positions="rope2d", pool="attention", num_register_tokens=2),
        dict(positions="sincos2d", pool="mean", remat="full"),
    ):
        vit = dataclasses.replace(small_fusion.VIT, depth=2, **options)
        guarantees.check_contract(fusion, resnet=SHORT, vit=vit, hw=(33, 65))


# That everything is read is tested above, and full attention by the fusion's name.
@pytest.mark.slow
@pytest.mark.parametrize("fusion", [WINDOWED, DEFORMABLE], ids=["windowed", "deformable"])
def test_gradient_reaches_everything(fusion):
    guarantees.check_gradient_reaches_everything(fusion)


@pytest.mark.parametrize(("pool", "kept"), [("cls", 4), ("mean", 0)])
def test_attention_of_the_blocks_stays_only_for_a_class_token(pool, kept):
    vit = dataclasses.replace(small_fusion.VIT, pool=pool, num_register_tokens=2)
    names = names_and_leaves(nnx.state(shapes(vit=vit, attention="deformable")))
    assert sum(name.endswith("attn.qkv.kernel") for name in names) == kept
    assert "vit.registers" not in names


def test_windows_of_two_examples_do_not_mix():
    vit = dataclasses.replace(small_fusion.VIT, depth=2)
    options = dict(strides=(16,), channels=32, resnet=SHORT, vit=vit)
    module = filled(shapes(attention="windowed", window_size=3, **options))
    forward = nnx.jit(lambda module, x: module(x).maps[16])
    images = np.array(small_fusion.example_images())
    one = np.asarray(forward(module, images))
    images[1] = small_fusion.example_images(seed=7)[1]
    other = np.asarray(forward(module, images))
    np.testing.assert_allclose(one[0], other[0], atol=1e-6)
    assert np.abs(one[1] - other[1]).max() > 1e-3


# The promises above are traced with recomputed blocks; that these give the same is tested
# of ViTs in `test_remat.py`.
@pytest.mark.slow
@pytest.mark.parametrize("fusion", [WINDOWED, DEFORMABLE], ids=["windowed", "deformable"])
def test_recomputed_blocks_give_the_same_gradients(fusion):
    def gradients(*, remat):
        vit = dataclasses.replace(small_fusion.VIT, depth=2, remat=remat)
        module = small_fusion.build(fusion, vit=vit).module
        graph, blocks, rest = nnx.split(module, nnx.PathContains("blocks"), ...)

        @jax.jit
        def gradient(blocks, rest, x, target, key):
            def reading(blocks, x):
                module = nnx.merge(graph, blocks, rest)
                y = module._encode(x, grids, rotation=None, key=key)
                return jnp.square(y - target).sum()

            return jax.grad(reading, argnums=(0, 1))(blocks, x)

        given = random_like(blocks), random_like(rest), tokens, target
        of_blocks, of_x = gradient(*given, jax.random.key(3))
        return names_and_leaves(of_blocks) | {"tokens": of_x}

    grids = {s: GRIDS[s] for s in small_fusion.build(fusion).module.strides}
    shape = (2, 1 + sum(h * w for h, w in grids.values()), 48)
    rng = np.random.default_rng(0)
    tokens, target = jnp.asarray(rng.standard_normal((2, *shape)), jnp.float32)
    plain, recomputed = gradients(remat="none"), gradients(remat="full")
    assert plain.keys() == recomputed.keys()
    largest = max(float(np.abs(g).max()) for g in plain.values())
    assert float(np.abs(plain["vit.blocks.1.mlp.fc1.kernel"]).max()) > 1e-3 * largest
    for name, expected in plain.items():
        np.testing.assert_allclose(
            recomputed[name], expected, atol=1e-5 * largest, err_msg=name
        )
