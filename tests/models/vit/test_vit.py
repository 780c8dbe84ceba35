"""The ViT part against float64 numpy, and every option against what it promises."""

import dataclasses

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from fresh_modules import fresh_state
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.models.layers.transformer import AttentionPool
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.positions import resize_grid, sincos2d
from hybrid_jax.specs import ViTSpec

TINY = ViTSpec(width=24, depth=2, num_heads=3, mlp_dim=40, patch_size=4)
GRID = (3, 5)
HW = (12, 20)


def build(spec=TINY, *, grid=GRID, seed=3, **kw):
    """Returns (run, state): `run(state, images, train=, key=)`, state random."""
    module = nnx.eval_shape(lambda: ViT(spec, grid=grid, rngs=nnx.Rngs(params=0), **kw))
    graph, state = nnx.split(module)

    def run(state, images, *, train=False, key=None):
        return nnx.merge(graph, state)(images, train=train, key=key)

    return jax.jit(run, static_argnames="train"), random_like(state, seed=seed)


def images_of(hw=HW, *, channels=3, batch=2, seed=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, *hw, channels)).astype(np.float32)


def with_options(**options):
    return dataclasses.replace(TINY, **options)


def assert_close(ours, theirs, *, tolerance=1e-5):
    """Tolerance: float32 rounding through two blocks, against the largest number."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize(("form", "layer_scale"), [("tanh", 0.0), ("erf", 1e-4)])
def test_vit_equals_reference(form, layer_scale):
    run, state = build(with_options(gelu=form, layer_scale=layer_scale))
    tokens = reference.vit_tokens(
        images_of(), as_float64(state), patch=4, heads=3, form=form
    )
    grid_map, pooled = run(state, images_of())
    assert_close(grid_map, tokens[:, 1:].reshape(2, 3, 5, 24))
    assert_close(pooled, tokens[:, 0])


def test_norm_eps_is_that_of_every_layer_norm():
    run, state = build(with_options(norm_eps=0.5))
    tokens = reference.vit_tokens(images_of(), as_float64(state), patch=4, heads=3, eps=0.5)
    assert_close(run(state, images_of())[1], tokens[:, 0])


def test_vit_over_a_feature_map_embeds_its_cells():
    run, state = build(in_channels=7, patch_size=1)
    x = images_of(GRID, channels=7)
    tokens = reference.vit_tokens(x, as_float64(state), patch=1, heads=3)
    assert_close(run(state, x)[1], tokens[:, 0])


def test_image_that_is_no_multiple_of_the_patch_is_padded_at_the_end():
    run, state = build()
    images = images_of((10, 17))
    padded = np.pad(images, ((0, 0), (0, 2), (0, 3), (0, 0)))
    ours, theirs = run(state, images), run(state, padded)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


# --- pools ------------------------------------------------------------------------------


def test_mean_pool_is_the_mean_of_the_patches_without_registers():
    run, state = build(with_options(pool="mean", num_register_tokens=2))
    grid_map, pooled = run(state, images_of())
    assert_close(pooled, np.asarray(grid_map).mean((1, 2)))


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_only_the_cls_pool_has_a_class_token(pool):
    names = names_and_leaves(build(with_options(pool=pool))[1])
    assert "cls" not in names
    assert "cls_position" not in names


def test_attention_pool_equals_reference():
    spec = with_options(pool="attention")
    module = nnx.eval_shape(lambda: AttentionPool(spec, rngs=nnx.Rngs(params=0)))
    graph, state = nnx.split(module)
    state = random_like(state)
    x = images_of((11,), channels=24)
    ours = jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x)
    assert_close(ours, reference.attention_pool(x, as_float64(state), heads=3))


def test_attention_pool_reads_the_normed_patches():
    run, state = build(with_options(pool="attention", num_register_tokens=2))
    grid_map, pooled = run(state, images_of())
    tokens = np.asarray(grid_map, np.float64).reshape(2, 15, 24)
    probe = as_float64(state)["probe_pool"]
    assert_close(pooled, reference.attention_pool(tokens, probe, heads=3))


# --- positions --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["corner_linear", "bilinear", "bicubic_aa"])
def test_other_size_equals_a_vit_made_for_it_with_resized_positions(method):
    hw = (8, 28)  # fewer rows and more columns
    spec = with_options(position_resize=method, depth=1)
    run, state = build(spec)
    grid = (hw[0] // 4, hw[1] // 4)
    run_other, other = build(spec, grid=grid)
    other["position"] = other["position"].replace(
        resize_grid(state["position"][...], grid, method=method)
    )
    for ours, theirs in zip(
        run(state, images_of(hw)), run_other(other, images_of(hw)), strict=True
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize("positions", ["learned", "sincos2d", "rope2d"])
def test_positions_tell_the_patches_apart(positions):
    run, state = build(with_options(positions=positions))
    # Every patch the same: without positions all tokens would be equal.
    images = np.tile(images_of((4, 4)), (1, 3, 5, 1))
    tokens = np.asarray(run(state, images)[0]).reshape(2, 15, 24)
    if positions == "rope2d":  # equal values attended with any weights stay equal
        images = images_of()
        swapped = images[:, ::-1]  # rows of patches, each one upside down
        a, b = run(state, images)[1], run(state, swapped)[1]
        assert np.abs(np.asarray(a) - b).max() > 1e-3
    else:
        distances = np.abs(tokens[:, None] - tokens[:, :, None]).max(-1)
        assert (distances[:, ~np.eye(15, dtype=bool)] > 1e-3).all()


def test_rope_makes_the_pooled_vector_depend_on_where_a_patch_is():
    for positions, differs in (("learned", False), ("rope2d", True)):
        spec = with_options(positions=positions)
        run, state = build(spec)
        if positions == "learned":  # without positions at all, order means nothing
            state["position"] = state["position"].replace(jnp.zeros((*GRID, 24)))
        images = images_of().reshape(2, 3, 4, 5, 4, 3)
        swapped = images[:, ::-1]  # whole rows of patches change places
        pooled = [
            np.asarray(run(state, x.reshape(2, 12, 20, 3))[1]) for x in (images, swapped)
        ]
        assert (np.abs(pooled[0] - pooled[1]).max() > 1e-3) == differs, positions


def test_sincos_positions_are_added_to_the_patches_and_hold_no_parameters():
    run, state = build(with_options(positions="sincos2d"))
    assert "position" not in names_and_leaves(state)
    assert "cls_position" not in names_and_leaves(state)
    run_learned, learned = build()
    for name in learned:
        if name in state:
            learned[name] = state[name]
    learned["position"] = learned["position"].replace(jnp.asarray(sincos2d(GRID, 24)))
    learned["cls_position"] = learned["cls_position"].replace(jnp.zeros((1, 24)))
    assert_close(run(state, images_of())[0], run_learned(learned, images_of())[0])


def test_registers_carry_no_position_and_leave_the_map():
    run, state = build(with_options(num_register_tokens=2))
    grid_map, _ = run(state, images_of())
    assert grid_map.shape == (2, 3, 5, 24)
    module = nnx.eval_shape(
        lambda: ViT(with_options(num_register_tokens=2), grid=GRID, rngs=nnx.Rngs(params=0))
    )
    assert module.prefix == 3
    # Registers are tokens in the order they stand in, without positions: an
    # exchange of the two changes nothing.
    swapped = nnx.State(state)
    swapped["registers"] = state["registers"].replace(state["registers"][...][::-1])
    assert_close(run(swapped, images_of())[1], run(state, images_of())[1])


def test_registers_change_the_features():
    run, state = build(with_options(num_register_tokens=2))
    before = run(state, images_of())[1]
    changed = nnx.State(state)
    changed["registers"] = state["registers"].replace(3.0 * state["registers"][...])
    assert np.abs(np.asarray(run(changed, images_of())[1]) - before).max() > 1e-3


# --- blocks -----------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [[0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 0.4], [0.4]])
def test_drop_path_rises_linearly_to_its_rate(rates):
    spec = with_options(depth=len(rates), drop_path=0.4)
    module = nnx.eval_shape(lambda: ViT(spec, grid=GRID, rngs=nnx.Rngs(params=0)))
    np.testing.assert_allclose([block.drop_path for block in module.blocks], rates)


def test_drops_of_the_blocks_are_not_the_same():
    run, state = build(with_options(dropout=0.5, depth=2))
    module = nnx.eval_shape(
        lambda: ViT(with_options(dropout=0.5), grid=GRID, rngs=nnx.Rngs(params=0))
    )
    graph, _ = nnx.split(module)

    @jax.jit
    def both(state, images, key):
        vit = nnx.merge(graph, state)
        vit.blocks[1] = vit.blocks[0]
        tokens, hw = vit.embed_map(images)
        return [vit.run_block(i, tokens, hw=hw, key=key) for i in (0, 1)]

    first, second = both(state, images_of(), jax.random.key(0))
    assert np.abs(np.asarray(first) - second).max() > 1e-3


def test_dropout_follows_the_key_and_needs_training():
    run, state = build(with_options(dropout=0.5))
    plain = run(state, images_of())[1]
    one, other = (
        run(state, images_of(), train=True, key=jax.random.key(seed))[1] for seed in (0, 1)
    )
    assert np.abs(np.asarray(one) - other).max() > 1e-3
    np.testing.assert_array_equal(run(state, images_of(), key=jax.random.key(0))[1], plain)


def test_layer_scale_starts_at_its_value():
    spec = with_options(layer_scale=0.25)
    state = fresh_state(lambda: ViT(spec, grid=GRID, rngs=nnx.Rngs(params=0)))
    for block in (0, 1):
        for scale in ("scale1", "scale2"):
            gamma = state["blocks"][block][scale]["gamma"][...]
            np.testing.assert_array_equal(gamma, np.full(24, 0.25))


def test_stages_compose_to_the_whole():
    run, state = build()
    module = nnx.eval_shape(lambda: ViT(TINY, grid=GRID, rngs=nnx.Rngs(params=0)))

    @jax.jit
    def by_stages(state, images):
        vit = nnx.merge(nnx.graphdef(module), state)
        tokens, hw = vit.embed_map(images)
        assert (tokens.shape, hw) == ((2, 16, 24), GRID)
        for index in range(2):
            tokens = vit.run_block(index, tokens, hw=hw)
        tokens = vit.norm(tokens)
        return vit.to_map(tokens, hw=hw), vit.pool_tokens(tokens)

    for ours, whole in zip(
        by_stages(state, images_of()), run(state, images_of()), strict=True
    ):
        assert_close(ours, whole)


def test_fused_projection_is_initialized_as_three():
    @jax.jit
    def drawn():
        vit = ViT(with_options(width=96, depth=1), grid=GRID, rngs=nnx.Rngs(params=0))
        return vit.blocks[0].attn.qkv.kernel[...]

    kernel = np.asarray(drawn())
    # Xavier of (96, 96), not of (96, 288): the bound is sqrt(6 / 192), not sqrt(6 / 384).
    assert kernel.shape == (96, 3, 96)
    for part in range(3):
        bound = np.abs(kernel[:, part]).max()
        assert 0.95 * np.sqrt(6 / 192) < bound <= np.sqrt(6 / 192)
