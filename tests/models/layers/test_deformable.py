"""The deformable attention module against float64 numpy, and where it first looks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, random_like

from hybrid_jax.models.layers.deformable import DeformableAttention, cell_centers_px, ring
from hybrid_jax.specs import ViTSpec

SPEC = ViTSpec(width=24, num_heads=3)
SHAPES = {8: (4, 6), 32: (1, 2)}


def build(**options):
    module = DeformableAttention(
        SPEC,
        query_dim=5,
        value_dim=7,
        dim=6,
        num_heads=3,
        levels=2,
        num_points=2,
        rngs=nnx.Rngs(params=0),
        **options,
    )
    return nnx.split(module)


def example(*, seed=0):
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((2, 4, 5))
    references = np.float32([(3.0, 9.0), (30.0, 20.0), (47.0, 31.0), (0.0, 0.0)])
    maps = {s: rng.standard_normal((2, *hw, 7)) for s, hw in SHAPES.items()}
    return queries, references, maps


def run(graph, state, queries, references, maps):
    maps = {s: jnp.asarray(x, jnp.float32) for s, x in maps.items()}
    queries = jnp.asarray(queries, jnp.float32)
    return _run(graph, state, queries, jnp.asarray(references), maps)


@functools.partial(jax.jit, static_argnums=0)
def _run(graph, state, queries, references, maps):
    return nnx.merge(graph, state)(queries, references, maps)


def reference(p, queries, references, maps):
    """Loops over queries, heads, maps and points; bilinear weights as hat functions."""

    def apply(x, name):
        return x @ p[name]["kernel"] + p[name]["bias"]

    offsets = apply(queries, "offsets").reshape(2, 4, 3, 2, 2, 2)
    logits = apply(queries, "weights").reshape(2, 4, 3, 4)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weights = weights.reshape(2, 4, 3, 2, 2)
    out = np.zeros((2, 4, 3, 2))
    for b, q, head, level, point in np.ndindex(weights.shape):
        stride, (h, w) = list(SHAPES.items())[level]
        value = apply(maps[stride][b], "value").reshape(h, w, 3, 2)[:, :, head]
        x, y = references[q] / stride + offsets[b, q, head, level, point]
        columns = np.maximum(1 - np.abs(np.arange(w) + 0.5 - x), 0)
        rows = np.maximum(1 - np.abs(np.arange(h) + 0.5 - y), 0)
        sample = np.einsum("i,j,ijd->d", rows, columns, value)
        out[b, q, head] += weights[b, q, head, level, point] * sample
    return apply(out.reshape(2, 4, 6), "out")


def test_module_equals_loops():
    graph, state = build()
    state = random_like(state)
    expected = reference(as_float64(state), *example())
    np.testing.assert_allclose(run(graph, state, *example()), expected, atol=1e-5)


def test_references_may_differ_between_examples_of_a_batch():
    graph, state = build()
    state = random_like(state)
    queries, references, maps = example()
    both = np.stack([references, references[::-1]])
    ours = run(graph, state, queries, both, maps)
    np.testing.assert_allclose(
        ours[1], run(graph, state, queries, references[::-1], maps)[1], atol=1e-6
    )


def test_first_offsets_are_steps_along_one_ray_per_head():
    offsets = ring(8, 3, 4)
    assert offsets.shape == (8, 3, 4, 2)
    rays = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, ray in enumerate(rays):
        for point in range(4):
            expected = np.multiply(ray, point + 1)
            np.testing.assert_allclose(offsets[head, 0, point], expected, atol=1e-5)
    np.testing.assert_array_equal(offsets[:, 0], offsets[:, 2])


def test_first_offsets_and_weights_do_not_depend_on_the_query():
    _, state = build()
    pure = as_float64(state)
    np.testing.assert_array_equal(pure["offsets"]["kernel"], 0.0)
    np.testing.assert_array_equal(pure["weights"]["kernel"], 0.0)
    np.testing.assert_array_equal(pure["weights"]["bias"], 0.0)
    np.testing.assert_allclose(pure["offsets"]["bias"], ring(3, 2, 2).ravel(), atol=1e-6)


@pytest.mark.parametrize(("sampling", "moves"), [("bilinear", True), ("discrete", False)])
def test_every_projection_learns_but_the_offsets_of_discrete_sampling(sampling, moves):
    graph, state = build(sampling=sampling)
    state = random_like(state)
    gradient = jax.grad(lambda state: jnp.square(run(graph, state, *example())).sum())
    for name, leaves in nnx.to_pure_dict(jax.jit(gradient)(state)).items():
        for leaf in leaves.values():
            assert bool(np.abs(leaf).max() > 1e-6) == (moves or name != "offsets"), name


def test_cell_centers_go_row_by_row():
    centers = cell_centers_px((2, 3), 8)
    expected = [(4, 4), (12, 4), (20, 4), (4, 12), (12, 12), (20, 12)]
    np.testing.assert_array_equal(centers, np.float32(expected))


def test_misuse_is_refused():
    graph, state = build()
    queries, references, maps = example()
    with pytest.raises(ValueError, match=r"maps: expected 2, got strides \[8\]"):
        run(graph, state, queries, references, {8: maps[8]})
    with pytest.raises(ValueError, match="sampling: expected one of"):
        build(sampling="cubic")
