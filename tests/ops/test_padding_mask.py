"""Masks of padding against a loop over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops.padding_mask import cell_mask, rectangle_mask

# Whole image, an inner rectangle, one pixel, nothing.
CONTENT = [(0, 0, 13, 21), (2, 5, 9, 20), (12, 20, 13, 21), (0, 0, 0, 0)]


def pixels_inside(content, *, hw):
    inside = np.zeros((len(content), *hw), bool)
    for index, (top, left, bottom, right) in enumerate(content):
        for i in range(hw[0]):
            for j in range(hw[1]):
                inside[index, i, j] = top <= i < bottom and left <= j < right
    return inside


def test_rectangle_mask_is_true_inside_alone():
    found = rectangle_mask(jnp.asarray(CONTENT, jnp.int32), hw=(13, 21))
    assert found.dtype == jnp.bool_
    np.testing.assert_array_equal(found, pixels_inside(CONTENT, hw=(13, 21)))


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 32])
def test_cell_is_real_if_any_of_its_pixels_is(stride):
    rng = np.random.default_rng(stride)
    mask = rng.random((2, 13, 21)) < 1.0 / stride**2  # about one real pixel in a cell
    mask[1, :, 16:] = False
    h, w = -(-13 // stride), -(-21 // stride)
    expected = np.zeros((2, h, w), bool)
    for index, i, j in np.ndindex(2, h, w):
        rows, columns = (slice(k * stride, (k + 1) * stride) for k in (i, j))
        expected[index, i, j] = mask[index, rows, columns].any()
    found = cell_mask(jnp.asarray(mask), stride=stride)
    assert found.dtype == jnp.bool_
    np.testing.assert_array_equal(found, expected)


def test_cells_past_the_border_hold_no_real_pixel():
    # 13 rows at stride 4: the last cell has one row; without it the cell is padding.
    mask = np.ones((1, 13, 21), bool)
    assert cell_mask(jnp.asarray(mask), stride=4).all()
    mask[:, 12:] = False
    found = np.asarray(cell_mask(jnp.asarray(mask), stride=4))
    assert found[:, :3].all()
    assert not found[:, 3].any()


def test_masks_are_made_under_jit():
    def cells(content):
        return cell_mask(rectangle_mask(content, hw=(13, 21)), stride=8)

    content = jnp.asarray(CONTENT, jnp.int32)
    np.testing.assert_array_equal(jax.jit(cells)(content), cells(content))
