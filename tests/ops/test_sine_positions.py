"""DETR's positions against the definition, cell by cell."""

import jax.numpy as jnp
import numpy as np

from hybrid_jax.ops.sine_positions import sine_positions


def test_cells_are_counted_over_the_real_part():
    mask = np.zeros((2, 4, 6), bool)
    mask[0, 1:4, :5] = True
    mask[1] = True
    ours = sine_positions(jnp.asarray(mask), 12)
    assert ours.shape == (2, 4, 6, 12)
    for image, i, j in np.argwhere(mask):
        rows, columns = mask[image].any(1), mask[image].any(0)
        expected = []
        for number, total in ((rows[: i + 1].sum(), rows.sum()),
                              (columns[: j + 1].sum(), columns.sum())):  # fmt: skip
            angle = 2 * np.pi * number / total
            for pair in range(3):
                scaled = angle / 10_000 ** (2 * pair / 6)
                expected += [np.sin(scaled), np.cos(scaled)]
        np.testing.assert_allclose(ours[image, i, j], expected, atol=1e-5)
