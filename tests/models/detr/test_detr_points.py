"""Where deformable attention looks when its references are boxes and maps are padded."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from parameters import random_like

from hybrid_jax.models.layers.deformable import DeformableAttention
from hybrid_jax.specs import ViTSpec

POINTS = 2


def attention(levels):
    module = nnx.eval_shape(
        lambda: DeformableAttention(
            ViTSpec(width=24, num_heads=3),
            query_dim=5,
            value_dim=7,
            dim=6,
            num_heads=3,
            levels=levels,
            num_points=POINTS,
            rngs=nnx.Rngs(params=0),
        )
    )
    graph, state = nnx.split(module)
    state = random_like(state)
    run = jax.jit(lambda state, *a, **kw: nnx.merge(graph, state)(*a, **kw))
    return lambda *a, **kw: run(state, *a, **kw)


def example(maps):
    rng = np.random.default_rng(0)
    queries = jnp.asarray(rng.standard_normal((2, 4, 5)), jnp.float32)
    references = jnp.asarray(rng.uniform(4.0, 28.0, (2, 4, 2)), jnp.float32)
    maps = {
        s: jnp.asarray(rng.standard_normal((2, *hw, 7)), jnp.float32)
        for s, hw in maps.items()
    }
    return queries, references, maps


def test_offsets_are_parts_of_the_box():
    """In a box of twice `points` cells, an offset of one is one cell, along each axis."""
    attend = attention(1)
    queries, references, maps = example({8: (4, 5)})
    cells = attend(queries, references, maps)
    same = jnp.full((2, 4, 2), 2.0 * POINTS * 8)
    np.testing.assert_allclose(
        attend(queries, references, maps, sizes_px=same), cells, atol=1e-5
    )
    half = attend(queries, references, maps, sizes_px=same * jnp.array([0.5, 1.0]))
    assert np.abs(half - cells).max() > 1e-3


def test_all_levels_look_at_the_same_places():
    """Where both maps are the same smooth picture, a box leads both to one value."""
    attend = attention(2)
    queries, references, _ = example({})
    references = jnp.full_like(references, 64.0)
    sizes = jnp.full_like(references, 20.0)

    def ramp(stride, n):
        x = (np.arange(n) + 0.5) * stride
        picture = np.stack([np.add.outer(x, 2 * x)] * 7, axis=-1) / 100
        return jnp.asarray(np.stack([picture] * 2), jnp.float32)

    both = attend(queries, references, {4: ramp(4, 32), 8: ramp(8, 16)}, sizes_px=sizes)
    finer = attend(queries, references, {2: ramp(2, 64), 4: ramp(4, 32)}, sizes_px=sizes)
    np.testing.assert_allclose(both, finer, atol=1e-4)
    cells = attend(queries, references, {4: ramp(4, 32), 8: ramp(8, 16)})
    assert np.abs(both - cells).max() > 1e-3


def test_padding_gives_nothing_not_even_the_bias():
    attend = attention(1)
    queries, references, maps = example({8: (4, 5)})
    masks = {8: jnp.ones((2, 4, 5), bool).at[:, :, 3:].set(False)}
    masked = attend(queries, references, maps, masks=masks)
    cut = attend(queries, references, {8: maps[8][:, :, :3]})
    np.testing.assert_allclose(masked, cut, atol=1e-5)
    assert np.abs(masked - attend(queries, references, maps)).max() > 1e-3
