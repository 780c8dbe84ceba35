"""Assignment of objects to the cells of a dense detector (FCOS, Tian et al., 2019)."""

import jax
import jax.numpy as jnp

from hybrid_jax.ops.boxes import box_area

CELLS_PER_OBJECT = 4.0
"""An object belongs to the finest level at which the square root of its area is at most
this many cells, or to the coarsest level if there is none."""


def assign_centers(
    centers_xy_px: jax.Array,
    strides_px: jax.Array,
    *,
    boxes_xyxy_px: jax.Array,
    box_labels: jax.Array,
    box_mask: jax.Array,
    center_radius: float,
) -> tuple[jax.Array, jax.Array]:
    """Returns the object of each cell, if any.

    A cell is positive for an object of its level (see `CELLS_PER_OBJECT`) if its center is
    inside the box and within `center_radius` cells of the box's center along both axes. Of
    several objects it gets the smallest. Ties of area are broken by the coordinates and the
    label, so that the order of the rows has no effect. An object that contains no cell
    center gets no cell.

    Args:
        centers_xy_px: (N, 2), the center of each cell.
        strides_px: (N,), the stride of each cell's level.
        boxes_xyxy_px: (B, M, 4).
        box_labels: (B, M) int32; of two equal boxes the one with the lower label is used.
        box_mask: (B, M) bool, False for padded rows.
        center_radius: in cells of the object's level.

    Returns:
        (B, N) int32, the row of the object, 0 if there is none; and (B, N) bool, whether
        there is one.
    """
    size = jnp.sqrt(box_area(boxes_xyxy_px))
    large_enough = CELLS_PER_OBJECT * strides_px[:, None, None] >= size
    level = jnp.min(jnp.where(large_enough, strides_px[:, None, None], jnp.inf), axis=0)
    level = jnp.minimum(level, strides_px.max())

    # (B, N, M) from here on: cells against objects.
    low, high = boxes_xyxy_px[:, None, :, :2], boxes_xyxy_px[:, None, :, 2:]
    centers = centers_xy_px[:, None, :]
    inside = jnp.all((centers > low) & (centers < high), axis=-1)
    distance = jnp.abs(centers - (low + high) / 2)
    near = jnp.all(distance < center_radius * strides_px[:, None, None], axis=-1)
    own_level = strides_px[:, None] == level[:, None, :]
    candidates = inside & near & own_level & box_mask[:, None, :]

    rank = _rank(boxes_xyxy_px, box_labels)[:, None, :]
    index = jnp.argmin(jnp.where(candidates, rank, rank.shape[-1]), axis=-1)
    return index.astype(jnp.int32), jnp.any(candidates, axis=-1)


def _rank(boxes_xyxy_px: jax.Array, box_labels: jax.Array) -> jax.Array:
    """Returns ranks (B, M) of boxes by area, independent of the order of the rows."""
    numbers = jnp.moveaxis(boxes_xyxy_px, -1, 0)
    order = jnp.lexsort((box_labels, *numbers, box_area(boxes_xyxy_px)), axis=-1)
    return jnp.argsort(order, axis=-1)
