"""Windows against loops over cells, and their attention against a mask of all pairs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybrid_jax.ops.attention.windows import (
    from_windows,
    real_cells,
    to_windows,
    windowed_attention,
)

GRIDS = [(4, 6), (5, 7), (3, 2), (1, 9)]  # whole windows of 2, cut ones, small ones


@pytest.mark.parametrize("hw", GRIDS)
@pytest.mark.parametrize("window", [2, 4])
def test_windows_hold_the_cells_they_should(hw, window):
    x = np.random.default_rng(0).standard_normal((2, *hw, 3)).astype(np.float32)
    windows = np.asarray(to_windows(jnp.asarray(x), window_size=window))
    columns = -(-hw[1] // window)
    expected = np.zeros_like(windows)
    real = np.zeros(windows.shape[1:3], bool)
    for i, j in np.ndindex(hw):
        n = i // window * columns + j // window
        cell = i % window * window + j % window
        expected[:, n, cell] = x[:, i, j]
        real[n, cell] = True
    np.testing.assert_array_equal(windows, expected)
    np.testing.assert_array_equal(real_cells(hw, window_size=window), real)
    np.testing.assert_array_equal(from_windows(windows, hw, window_size=window), x)


@pytest.mark.parametrize("grids", [[(4, 6)], [(5, 7), (3, 2), (1, 1)], [(8, 4), (4, 4)]])
@pytest.mark.parametrize("prefix", [0, 3])
def test_windowed_attention_is_attention_under_a_mask(grids, prefix):
    place = [("prefix", i) for i in range(prefix)]
    for number, hw in enumerate(grids):
        place += [(number, i // 4, j // 4) for i, j in np.ndindex(hw)]
    N, d = len(place), 6
    rng = np.random.default_rng(1)
    query, key, value = rng.standard_normal((3, 2, N, 2, d))
    seen = np.array(
        [[a == b or "prefix" in (a[0], b[0]) for b in place] for a in place], bool
    )
    logits = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(d)
    weights = special.softmax(np.where(seen, logits, -np.inf), axis=-1)
    expected = np.einsum("bhqk,bkhd->bqhd", weights, value)
    arrays = (jnp.asarray(x, jnp.float32) for x in (query, key, value))
    attend = functools.partial(windowed_attention, grids=grids, window_size=4)
    ours = jax.jit(attend)(*arrays)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_padding_is_not_seen_in_bfloat16_either():
    # Zero keys would draw weight if their logits were not pushed down.
    query = jnp.full((1, 2, 1, 8), -9.0, jnp.bfloat16)
    value = jnp.ones((1, 2, 1, 8), jnp.bfloat16)
    ours = windowed_attention(query, -query, value, grids=[(1, 2)], window_size=3)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(ours, np.float32), 1.0)
