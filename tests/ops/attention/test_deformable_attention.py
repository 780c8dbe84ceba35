"""Deformable attention against loops in float64 and numeric differences."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops.attention.deformable import deformable_attention

SIDES = ((3, 5), (6, 2), (1, 4))  # three levels, none square
B, Q, HEADS, POINTS, D = 2, 4, 3, 4, 2


def inputs(*, seed=0):
    """Returns values, locations inside, outside and exactly on borders, and weights."""
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal((B, h, w, HEADS, D)) for h, w in SIDES]
    locations = np.empty((B, Q, HEADS, len(SIDES), POINTS, 2))
    for level, (h, w) in enumerate(SIDES):
        shape = (B, Q, HEADS, POINTS, 2)
        locations[:, :, :, level] = rng.uniform(-2.0, (w + 2.0, h + 2.0), shape)
        corners = [(0.0, 0.0), (w, h), (0.5, 0.5), (w - 0.5, h - 0.5)]
        locations[0, 0, 0, level] = corners
        locations[0, 1, 0, level] = [(-0.5, 0.5), (w + 0.5, 0.5), (1.0, h), (w, 1.0)]
        locations[0, 2, 0, level] = [(-1e6, 0.5), (0.5, 1e6), (1e6, -1e6), (0.0, h / 2)]
    weights = rng.standard_normal((B, Q, HEADS, len(SIDES), POINTS))
    return values, locations.astype(np.float32), weights


attend = functools.partial(jax.jit, static_argnames="sampling")(deformable_attention)


def as_float32(arrays):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), arrays)


def cells_read(x, y, sampling):
    """Returns [(row, column, share)] of one point."""
    if sampling == "discrete":
        return [(math.floor(y), math.floor(x), 1.0)]
    top, left = math.floor(y - 0.5), math.floor(x - 0.5)
    return [
        (i, j, (1 - abs(y - 0.5 - i)) * (1 - abs(x - 0.5 - j)))
        for i, j in itertools.product((top, top + 1), (left, left + 1))
    ]


def reference(values, locations, weights, *, sampling="bilinear"):
    """One point at a time, in float64; cells outside the map count zero."""
    out = np.zeros((B, Q, HEADS, D))
    for at in np.ndindex(weights.shape):
        b, q, head, level, _ = at
        h, w = SIDES[level]
        x, y = np.float64(locations[at])
        for i, j, share in cells_read(x, y, sampling):
            if 0 <= i < h and 0 <= j < w:
                out[b, q, head] += weights[at] * share * values[level][b, i, j, head]
    return out


@pytest.mark.parametrize("sampling", ["bilinear", "discrete"])
def test_equals_a_loop_over_points(sampling):
    arrays = inputs()
    ours = attend(*as_float32(arrays), sampling=sampling)
    np.testing.assert_allclose(ours, reference(*arrays, sampling=sampling), atol=1e-5)


def test_a_point_at_a_center_reads_one_cell_and_at_a_corner_four():
    value = jnp.arange(6.0).reshape(1, 2, 3, 1, 1)
    points = jnp.array([[2.5, 0.5], [1.0, 1.0], [0.0, 0.5], [3.5, 0.5]])
    locations = points.reshape(1, 4, 1, 1, 1, 2)
    out = attend([value], locations, jnp.ones((1, 4, 1, 1, 1)))
    # Halfway over the left border half of cell 0 (which is 0); past the last center by
    # one cell nothing.
    np.testing.assert_allclose(out.ravel(), [2.0, (0 + 1 + 3 + 4) / 4, 0.0, 0.0], atol=1e-6)


def test_gradient_equals_numeric_differences_of_the_loop():
    values, locations, weights = inputs()
    # Away from cell centers, where the sample has a kink and no derivative.
    distance = np.abs((locations - 0.5) - np.round(locations - 0.5))
    locations = np.where(distance < 0.05, locations + np.float32(0.1), locations)
    reading = np.random.default_rng(1).standard_normal((B, Q, HEADS, D))

    def ours(*arrays):
        return jnp.vdot(deformable_attention(*arrays), jnp.asarray(reading, jnp.float32))

    gradients = jax.jit(jax.grad(ours, argnums=(0, 1, 2)))(
        *as_float32((values, locations, weights))
    )
    # float64 locations here, or a step of 1e-4 would be lost in them.
    arrays = [*values, np.float64(locations), weights]
    flat = [*gradients[0], gradients[1], gradients[2]]
    rng = np.random.default_rng(2)
    for array, gradient in zip(arrays, flat, strict=True):
        for _ in range(12):
            at = tuple(rng.integers(side) for side in array.shape)
            kept, ends = array[at], []
            for step in (1e-4, -1e-4):
                array[at] = kept + step
                ends.append(np.vdot(reference(arrays[:3], *arrays[3:]), reading))
            array[at] = kept
            assert gradient[at] == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-4)


def test_discrete_gives_gradient_to_values_and_weights_and_none_to_locations():
    arrays = as_float32(inputs())

    def loss(*arrays):
        return jnp.square(attend(*arrays, sampling="discrete")).sum()

    slope = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    values, locations, weights = jax.device_get(slope(*arrays))
    assert not locations.any()
    assert all(value.any() for value in values)
    assert weights.any()


def test_bfloat16_values_are_sampled_and_their_gradients_summed_in_float32():
    # 1000 points of weight 1/1000 in one cell: a bfloat16 sum would stop at 1/4.
    value = np.ones((1, 2, 2, 1, 1), jnp.bfloat16)
    locations = np.full((1, 1, 1, 1, 1000, 2), 0.5, np.float32)
    weights = np.full((1, 1, 1, 1, 1000), 1e-3, np.float32)

    def total(value):
        return attend([value], locations, weights).sum()

    out, gradient = jax.device_get(jax.jit(jax.value_and_grad(total))(value))
    assert out.dtype == gradient.dtype == jnp.bfloat16
    assert float(out) == pytest.approx(1.0, abs=0.01)
    assert float(gradient[0, 0, 0, 0, 0]) == pytest.approx(1.0, abs=0.01)


def test_backward_pass_keeps_no_gathered_rows():
    # Of many queries, what is kept must be the size of the inputs: (Q, points), not the
    # rows (Q, points, 4, D) read for them.
    value = jax.ShapeDtypeStruct((1, 3, 5, 1, 16), jnp.float32)
    locations = jax.ShapeDtypeStruct((1, 500, 1, 1, 4, 2), jnp.float32)
    weights = jax.ShapeDtypeStruct((1, 500, 1, 1, 4), jnp.float32)

    def residuals(value, *points):
        _, pullback = jax.vjp(lambda v, *p: deformable_attention([v], *p), value, *points)
        return jax.tree.leaves(pullback)

    kept = jax.eval_shape(residuals, value, locations, weights)
    assert max(math.prod(leaf.shape) for leaf in kept) <= 500 * 4 * 2


def test_exports_for_every_platform_and_runs():
    arrays = as_float32(inputs())
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(attend, platforms=platforms)(*arrays)
    np.testing.assert_allclose(exported.call(*arrays), reference(*inputs()), atol=1e-5)


def test_unknown_sampling_is_refused():
    with pytest.raises(ValueError, match="sampling: expected one of .*, got 'nearest'"):
        deformable_attention(*as_float32(inputs()), sampling="nearest")
