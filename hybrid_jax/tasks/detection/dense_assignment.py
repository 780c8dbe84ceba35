"""Which cell of a dense detector answers for which object (FCOS, Tian et al., 2019)."""

import jax
import jax.numpy as jnp

from hybrid_jax.ops.boxes import box_area

CELLS_PER_OBJECT = 4.0
"""An object belongs to the finest level of whose cells it measures at most this many,
measured as the root of its area, and to the coarsest level if it is larger than that."""


def assign_centers(
    centers_xy_px: jax.Array,
    strides_px: jax.Array,
    *,
    boxes_xyxy_px: jax.Array,
    box_labels: jax.Array,
    box_mask: jax.Array,
    center_radius: float,
) -> tuple[jax.Array, jax.Array]:
    """Gives each cell the object it has to find, if any.

    A cell may claim an object of its own level (see `CELLS_PER_OBJECT`: any strides share
    out all sizes among them) whose box contains the cell's middle, if that lies within
    `center_radius` cells of the box's middle along both axes. Of several it claims the
    smallest. Boxes of equal area are ordered by their numbers, so the order of the rows
    decides nothing. An object so thin that no middle lies in it is claimed by none.

    Args:
        centers_xy_px: (N, 2), the middle of each cell.
        strides_px: (N,), of each cell's level.
        boxes_xyxy_px: (B, M, 4).
        box_labels: (B, M) int32; of two equal boxes the lower class is claimed.
        box_mask: (B, M) bool, False for rows that hold no object.
        center_radius: in cells of the object's level.

    Returns:
        (B, N) int32, the row of the object, 0 where there is none; and (B, N) bool,
        whether there is one.
    """
    size = jnp.sqrt(box_area(boxes_xyxy_px))
    large_enough = CELLS_PER_OBJECT * strides_px[:, None, None] >= size
    level = jnp.min(jnp.where(large_enough, strides_px[:, None, None], jnp.inf), axis=0)
    level = jnp.minimum(level, strides_px.max())

    # (B, N, M) from here on: cells against objects.
    low, high = boxes_xyxy_px[:, None, :, :2], boxes_xyxy_px[:, None, :, 2:]
    centers = centers_xy_px[:, None, :]
    inside = jnp.all((centers > low) & (centers < high), axis=-1)
    away = jnp.abs(centers - (low + high) / 2)
    near = jnp.all(away < center_radius * strides_px[:, None, None], axis=-1)
    own_level = strides_px[:, None] == level[:, None, :]
    claimable = inside & near & own_level & box_mask[:, None, :]

    rank = _rank(boxes_xyxy_px, box_labels)[:, None, :]
    index = jnp.argmin(jnp.where(claimable, rank, rank.shape[-1]), axis=-1)
    return index.astype(jnp.int32), jnp.any(claimable, axis=-1)


def _rank(boxes_xyxy_px: jax.Array, box_labels: jax.Array) -> jax.Array:
    """Numbers boxes (B, M, 4) from the smallest up; the same in every order of rows."""
    numbers = jnp.moveaxis(boxes_xyxy_px, -1, 0)
    order = jnp.lexsort((box_labels, *numbers, box_area(boxes_xyxy_px)), axis=-1)
    return jnp.argsort(order, axis=-1)
