"""Maps change stride without moving: against block means, repeats and torch's centers."""

import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops.rescale import average_pool, to_stride, upsample


def _map(h, w, *, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, h, w, 3)).astype(np.float32)


@pytest.mark.parametrize(("h", "w", "factor"), [(4, 6, 2), (5, 7, 2), (7, 3, 4), (1, 1, 8)])
def test_average_pool_is_the_mean_of_the_cells_inside(h, w, factor):
    x = _map(h, w)
    pooled = np.asarray(average_pool(jnp.asarray(x), factor=factor))
    assert pooled.shape == (2, -(-h // factor), -(-w // factor), 3)
    for i in range(pooled.shape[1]):
        for j in range(pooled.shape[2]):
            rows = slice(i * factor, (i + 1) * factor)
            columns = slice(j * factor, (j + 1) * factor)
            expected = x[:, rows, columns].mean((1, 2))
            np.testing.assert_allclose(pooled[:, i, j], expected, atol=1e-6)


def test_nearest_repeats_every_cell_and_cuts_what_is_outside():
    x = _map(3, 4)
    y = np.asarray(upsample(jnp.asarray(x), (5, 7), factor=2, method="nearest"))
    for i in range(5):
        for j in range(7):
            np.testing.assert_array_equal(y[:, i, j], x[:, i // 2, j // 2])


def test_bilinear_samples_between_the_centers_of_cells():
    x = _map(4, 5)
    y = np.asarray(upsample(jnp.asarray(x), (8, 10), factor=2))
    expected = 0.75 * x[:, 1] + 0.25 * x[:, 2]  # row 3 lies a quarter cell past row 1
    expected = 0.75 * expected[:, 2] + 0.25 * expected[:, 1]  # column 4, before column 2
    np.testing.assert_allclose(y[:, 3, 4], expected, atol=1e-6)


def test_cutting_leaves_the_other_cells_where_they_were():
    x = jnp.asarray(_map(4, 5))
    whole = upsample(x, (16, 20), factor=4)
    np.testing.assert_array_equal(upsample(x, (13, 17), factor=4), whole[:, :13, :17])


def test_a_constant_stays_constant_over_odd_sizes():
    x = jnp.full((1, 5, 3, 2), 1.5)
    for new, hw in ((32, (3, 2)), (16, (5, 3)), (4, (19, 11))):
        y = to_stride(x, hw, old=16, new=new)
        assert y.shape == (1, *hw, 2)
        np.testing.assert_allclose(y, 1.5, atol=1e-6)


def test_strides_and_sizes_that_do_not_fit_are_refused():
    x = jnp.asarray(_map(4, 5))
    for old, new in ((16, 14), (14, 16), (8, 12)):
        expected = rf"to_stride: new: .* of the map's stride {old}, got {new}\."
        with pytest.raises(ValueError, match=expected):
            to_stride(x, (4, 5), old=old, new=new)
    for hw in ((9, 10), (8, 11)):
        expected = rf"upsample: hw: expected at most \(8, 10\), .*got \({hw[0]}, {hw[1]}\)"
        with pytest.raises(ValueError, match=expected):
            upsample(x, hw, factor=2)
    with pytest.raises(ValueError, match=r"expected at most \(4, 5\).*got \(5, 5\)"):
        to_stride(x, (5, 5), old=8, new=8)
    with pytest.raises(
        ValueError, match=r"to_stride: hw: expected \(2, 3\) .*got \(2, 2\)"
    ):
        to_stride(x, (2, 2), old=8, new=16)
