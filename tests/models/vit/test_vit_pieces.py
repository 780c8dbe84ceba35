"""What fusions ask of a ViT: to leave pieces out, and to add to its patches alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import names_and_leaves, random_like

from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.specs import ViTSpec

TINY = ViTSpec(width=24, depth=2, num_heads=3, mlp_dim=40, patch_size=4)
GRID = (3, 5)


def fresh(spec=TINY, **kw):
    """Returns every number of a new ViT, by name."""
    return names_and_leaves(nnx.state(ViT(spec, grid=GRID, rngs=nnx.Rngs(params=0), **kw)))


@pytest.mark.parametrize(
    ("options", "without", "gone"),
    [
        ({}, ("embed",), {"embed.kernel", "embed.bias"}),
        ({}, ("cls",), {"cls"}),
        ({}, ("positions",), {"position", "cls_position"}),
        (dict(pool="mean"), ("positions",), {"position"}),
        (dict(pool="attention", num_register_tokens=2), ("embed", "positions"), None),
    ],
)
def test_what_is_left_out_changes_no_other_weight(options, without, gone):
    whole = fresh(dataclasses.replace(TINY, **options))
    rest = fresh(dataclasses.replace(TINY, **options), without=without)
    missing = whole.keys() - rest.keys()
    assert missing == (gone or {"embed.kernel", "embed.bias", "position"})
    assert rest.keys() < whole.keys()
    for name, leaf in rest.items():
        np.testing.assert_array_equal(leaf, whole[name], err_msg=name)


def test_attention_and_probe_are_left_out():
    spec = dataclasses.replace(TINY, pool="attention")
    missing = fresh(spec).keys() - fresh(spec, without=("attention", "pool")).keys()
    assert {name for name in missing if "blocks" not in name} == {
        name for name in missing if name.startswith("probe_pool.")
    }
    assert {name.split(".")[2] for name in missing if "blocks" in name} == {"attn"}
    assert {name.split(".")[1] for name in missing if "blocks" in name} == {"0", "1"}


@pytest.mark.parametrize("positions", ["learned", "sincos2d", "rope2d"])
def test_without_positions_equal_patches_have_equal_tokens(positions):
    spec = dataclasses.replace(TINY, positions=positions, num_register_tokens=2)

    def build():
        return ViT(spec, grid=GRID, rngs=nnx.Rngs(params=0), without=("positions",))

    graph, state = nnx.split(nnx.eval_shape(build))
    patch = np.random.default_rng(1).standard_normal((2, 4, 4, 3)).astype(np.float32)
    images = np.tile(patch, (1, 3, 5, 1))

    @jax.jit
    def run(state, images):
        vit = nnx.merge(graph, state)
        tokens, hw = vit.embed_map(images)
        assert (tokens.shape, hw) == ((2, 3 + 15, 24), GRID)
        # Rotary ones turn queries and keys in the blocks: they stay.
        changed = tokens.at[:, 5].add(1.0)
        turned = [vit.run_block(0, changed, hw=hw) for hw in (GRID, GRID[::-1])]
        return tokens, vit.embed(images).reshape(2, 15, 24), *turned

    tokens, embedded, plain, other = map(np.asarray, run(random_like(state), images))
    np.testing.assert_allclose(tokens[:, 3:], embedded)
    np.testing.assert_allclose(tokens[:, 4:], tokens[:, 3:-1], atol=1e-6)
    assert (np.abs(plain - other).max() > 1e-4) == (positions == "rope2d")


def test_unknown_piece_is_refused():
    with pytest.raises(ValueError, match=r"without: expected some of \('embed', .*'neck'"):
        ViT(TINY, grid=GRID, rngs=nnx.Rngs(params=0), without=("neck",))


@pytest.mark.parametrize("options", [{}, dict(pool="mean"), dict(num_register_tokens=2)])
@pytest.mark.parametrize("shape", [(2, 15, 24), (2, 3, 5, 24)])
def test_added_to_the_patches_alone(options, shape):
    vit = nnx.eval_shape(
        lambda: ViT(
            dataclasses.replace(TINY, **options), grid=GRID, rngs=nnx.Rngs(params=0)
        )
    )
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.standard_normal((2, vit.prefix + 15, 24)), jnp.bfloat16)
    change = rng.standard_normal(shape).astype(np.float32)
    ours = vit.add_to_patches(tokens, change)
    assert (ours.shape, ours.dtype) == (tokens.shape, tokens.dtype)
    np.testing.assert_array_equal(ours[:, : vit.prefix], tokens[:, : vit.prefix])
    expected = np.float32(vit.to_map(tokens, hw=GRID)) + change.reshape(2, *GRID, 24)
    got = np.float32(vit.to_map(ours, hw=GRID))
    np.testing.assert_allclose(got, expected, atol=2.0**-5)  # bfloat16, twice rounded
