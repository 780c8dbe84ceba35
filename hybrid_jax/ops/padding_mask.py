"""Masks of the pixels and cells that are not padding."""

import jax.numpy as jnp
from jaxtyping import Bool, Real

from hybrid_jax.array_types import Array, CellMask, PixelMask


def rectangle_mask(
    content_yxyx_px: Real[Array, "B 4"], *, hw: tuple[int, int]
) -> Bool[Array, "B {hw[0]} {hw[1]}"]:
    """Returns (B, H, W) bool, True inside each image's rectangle.

    Args:
        content_yxyx_px: (B, 4): top, left, bottom, right in px.
        hw: (H, W).
    """
    top, left, bottom, right = (content_yxyx_px[:, i, None] for i in range(4))
    rows, columns = jnp.arange(hw[0]), jnp.arange(hw[1])
    inside_rows = (rows >= top) & (rows < bottom)
    inside_columns = (columns >= left) & (columns < right)
    return inside_rows[:, :, None] & inside_columns[:, None, :]


def cell_mask(mask_px: PixelMask, *, stride: int) -> CellMask:
    """Returns (B, h, w) bool, True for cells with at least one pixel that is not padding.

    Args:
        mask_px: (B, H, W) bool.
        stride: px per cell.
    """
    B, H, W = mask_px.shape
    padded = jnp.pad(mask_px, ((0, 0), (0, -H % stride), (0, -W % stride)))
    cells = padded.reshape(B, -(-H // stride), stride, -(-W // stride), stride)
    return cells.any((2, 4))
