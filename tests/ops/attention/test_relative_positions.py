"""Relative positions against loops over pairs of cells and numpy's interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops.attention import relative_positions
from hybrid_jax.ops.attention.relative_positions import relative_bias

# One program each, not one for each operation.
by_pair = jax.jit(relative_positions.by_pair, static_argnames="axis")
fitted_bias = jax.jit(relative_bias, static_argnums=1, static_argnames="prefix")
relative_logits = jax.jit(relative_positions.relative_logits)
resize_offsets = jax.jit(
    relative_positions.resize_offsets, static_argnums=1, static_argnames="axis"
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def resized(table, side):
    """Interpolates (2n - 1, ...) at offsets scaled so that the farthest meet."""
    old = (len(table) - 1) // 2
    offsets = np.linspace(-old, old, 2 * side - 1) if side > 1 else np.zeros(1)
    columns = table.reshape(len(table), -1).T
    new = [np.interp(offsets, np.arange(-old, old + 1), column) for column in columns]
    return np.stack(new, -1).reshape(2 * side - 1, *table.shape[1:])


@pytest.mark.parametrize(("old", "new"), [(4, 7), (7, 4), (5, 1), (1, 3), (3, 3)])
def test_offsets_are_interpolated_from_end_to_end(old, new):
    table = normal(2 * old - 1, 3)
    ours = resize_offsets(jnp.float32(table), new, axis=0)
    np.testing.assert_allclose(ours, resized(table, new), atol=1e-6)


def test_offset_zero_keeps_its_entry():
    table = normal(9, 2)
    for side in (1, 2, 8):
        ours = resize_offsets(jnp.float32(table), side, axis=0)
        np.testing.assert_allclose(np.asarray(ours)[side - 1], table[4], atol=1e-6)


def test_any_axis_is_resized():
    table = normal(3, 5, 7)
    ours = resize_offsets(jnp.float32(table), 2, axis=1)
    expected = resized(table.transpose(1, 0, 2), 2).transpose(1, 0, 2)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_pair_reads_the_offset_from_query_to_key(n):
    table = normal(2, 2 * n - 1, 3)
    pairs = np.asarray(by_pair(jnp.float32(table), axis=1))
    assert pairs.shape == (2, n, n, 3)
    for query in range(n):
        for key in range(n):
            expected = table[:, key - query + n - 1]
            np.testing.assert_allclose(pairs[:, query, key], expected, atol=1e-6)


@pytest.mark.parametrize("hw", [(3, 4), (5, 2)])
def test_static_bias_equals_a_loop_over_pairs(hw):
    table = normal(2, 5, 7)  # for 3 x 4
    h, w = hw
    fitted = resized(table.transpose(1, 2, 0), h).transpose(1, 0, 2)
    fitted = resized(fitted, w).transpose(2, 1, 0)  # (heads, 2h - 1, 2w - 1)
    expected = np.zeros((1, 2, 2 + h * w, 2 + h * w))
    for query in np.ndindex(h, w):
        for key in np.ndindex(h, w):
            at = (2 + query[0] * w + query[1], 2 + key[0] * w + key[1])
            offset = (key[0] - query[0] + h - 1, key[1] - query[1] + w - 1)
            expected[0, :, *at] = fitted[:, *offset]
    ours = fitted_bias(jnp.float32(table), hw, prefix=2)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("hw", [(3, 4), (4, 6)])
def test_query_logits_equal_a_loop_over_pairs(hw):
    h, w = hw
    query, rows, columns = normal(2, h, w, 3, 5), normal(5, 5, seed=1), normal(7, 5, seed=2)
    by_row, by_column = resized(rows, h), resized(columns, w)
    expected = np.zeros((2, 3, h * w, h * w))
    for i, j in np.ndindex(h, w):
        for k, m in np.ndindex(h, w):
            r = by_row[k - i + h - 1] + by_column[m - j + w - 1]
            expected[:, :, i * w + j, k * w + m] = query[:, i, j] @ r
    ours = relative_logits(*(jnp.float32(x) for x in (query, rows, columns)))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_query_logits_keep_the_dtype_of_the_query():
    query = jnp.zeros((1, 3, 4, 2, 5), jnp.bfloat16)
    logits = relative_logits(query, jnp.zeros((5, 5)), jnp.zeros((7, 5)))
    assert logits.dtype == jnp.bfloat16


def test_nothing_is_gathered_or_scattered():
    def total(table):
        return jnp.square(relative_bias(table, (5, 6), prefix=1)).sum()

    text = jax.jit(jax.grad(total)).lower(jnp.zeros((2, 5, 7))).as_text()
    assert "gather" not in text
    assert "scatter" not in text
