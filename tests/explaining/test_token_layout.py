"""Which cells the tokens are: of one grid, of several, or none."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.explaining.methods.attention_distance import attention_distance
from hybrid_jax.explaining.token_layout import Layout, Layouts

HW = (60, 92)  # 8 x 12 cells at stride 8, 4 x 6 at 16, 2 x 3 at 32


def layouts(*channels):
    backbone = types.SimpleNamespace(channels=dict.fromkeys(channels, 8))
    return Layouts(backbone, HW, ())


@pytest.mark.parametrize(
    ("count", "strides"), [(96, (8,)), (24, (16,)), (126, (8, 16, 32)), (30, (16, 32))]
)
def test_count_tells_the_grids(count, strides):
    assert layouts(4, 8, 16, 32).of(count) == Layout(HW, strides)


def test_other_counts_are_no_cells():
    assert layouts(8, 16, 32).of(7) is None


def test_levels_are_summed_and_shares_keep_their_sum():
    layout = Layout(HW, (16, 32), prefix=2)
    values = np.arange(layout.count, dtype=np.float32)
    found = np.asarray(layout.to_map(jnp.asarray(values)))
    for y in range(4):
        for x in range(6):
            fine, coarse = 2 + y * 6 + x, 2 + 24 + (y // 2) * 3 + x // 2
            assert found[y, x] == values[fine] + values[coarse]
    shares = layout.shares_to_map(jnp.asarray(values))
    assert float(shares.sum()) == pytest.approx(values[2:].sum())


def test_coarser_tokens_are_means_of_those_they_cover():
    fine, coarse = Layout((20, 12), (4,), 1), Layout((20, 12), (8,), 1)  # 5 x 3, 3 x 2
    values = np.random.default_rng(0).standard_normal(16)
    found = fine.coarser(coarse) @ values
    grid = values[1:].reshape(5, 3)
    expected = [grid[y : y + 2, x : x + 2].mean() for y in (0, 2, 4) for x in (0, 2)]
    np.testing.assert_allclose(found, [values[0], *expected], rtol=1e-6)


def test_attention_distance_equals_the_loop():
    queries, keys = Layout((12, 8), (4,), 1), Layout((12, 8), (8,), 1)  # 3 x 2, 2 x 1
    weights = np.random.default_rng(0).uniform(0.1, 1.0, (1, 2, 7, 3))
    weights /= weights.sum(-1, keepdims=True)
    at = [(4 * y + 2, 4 * x + 2) for y in range(3) for x in range(2)]
    of = [(8 * y + 4, 4) for y in range(2)]
    for head in range(2):
        total = 0.0
        for n, (y, x) in enumerate(at, start=1):
            row = weights[0, head, n, 1:] / weights[0, head, n, 1:].sum()
            away = [np.hypot(y - there[0], x - there[1]) for there in of]
            total += (row * away).sum() / len(at)
        found = attention_distance(jnp.asarray(weights), queries=queries, keys=keys)
        assert float(found[0, head]) == pytest.approx(total, rel=1e-5)
