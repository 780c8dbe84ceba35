"""Turning, zooming and shifting images, masks and boxes alike.

Points are (y, x) in px, y downwards; the center of the first pixel is (0.5, 0.5). The same
functions serve traced arrays on the device and numpy arrays on the host.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Outside = Literal["reflected", "gray"]
_GRAY = 128.0  # as the padding of evaluation


class Motion(NamedTuple):
    """A turn and a zoom about the center of the content, then a shift.

    Attributes:
        degrees: counterclockwise as one sees it.
        zoom: 2.0 shows everything twice as large.
        down, right: as shares of the height and the width of the content.
    """

    degrees: Any = 0.0
    zoom: Any = 1.0
    down: Any = 0.0
    right: Any = 0.0


def moved_points(
    points_yx: Any, motion: Motion, *, content_yxyx: Any, scale_yx: Any
) -> Any:
    """Returns where points (..., 2) lie afterwards.

    Args:
        content_yxyx: (4,) top, left, bottom, right of what moves, px.
        scale_yx: (2,) px of the image that the model sees, in which a turn is one, per px
            of these points along each axis.
    """
    xp = _of(points_yx)
    center, size = _center(content_yxyx, xp)
    shift = size * xp.stack([xp.asarray(motion.down), xp.asarray(motion.right)])
    away = (points_yx - center) * scale_yx
    cos, sin = _turn(motion, xp)
    y, x = away[..., 0], away[..., 1]
    turned = xp.stack([cos * y - sin * x, sin * y + cos * x], -1)
    return motion.zoom * turned / scale_yx + center + shift


def source_points(hw: tuple[int, int], motion: Motion, *, content_yxyx, scale_yx) -> Any:
    """Returns (H, W, 2): where that which the pixels show afterwards lay before."""
    xp = _of(content_yxyx)
    rows, columns = (xp.arange(n, dtype=xp.float32) + 0.5 for n in hw)
    points = xp.stack(xp.meshgrid(rows, columns, indexing="ij"), -1)
    center, size = _center(content_yxyx, xp)
    shift = size * xp.stack([xp.asarray(motion.down), xp.asarray(motion.right)])
    away = (points - center - shift) * scale_yx
    cos, sin = _turn(motion, xp)
    y, x = away[..., 0], away[..., 1]
    turned = xp.stack([cos * y + sin * x, cos * x - sin * y], -1)
    return turned / motion.zoom / scale_yx + center


def moved_image(
    image: jax.Array, motion: Motion, *, content_yxyx: jax.Array, outside: Outside
) -> jax.Array:
    """Returns an image (H, W, 3) float32 moved within its content, bilinear.

    Args:
        content_yxyx: (4,) the part that is no padding; what is outside stays.
        outside: what comes in over the border: the content mirrored at it, or gray.
    """
    hw, scale = (image.shape[0], image.shape[1]), jnp.ones(2)
    content = content_yxyx.astype(jnp.float32)
    points = source_points(hw, motion, content_yxyx=content, scale_yx=scale)
    low, high = content[:2], content[2:]
    place = jnp.clip(reflected(points, content), low + 0.5, high - 0.5) - 0.5
    first = jnp.floor(place).astype(jnp.int32)
    share = place - first
    last = (high - 1).astype(jnp.int32)
    moved = jnp.zeros_like(image)
    for down in (0, 1):
        for right in (0, 1):
            cell = jnp.minimum(first + jnp.array([down, right]), last)
            weight = jnp.abs(1.0 - jnp.array([down, right]) - share).prod(-1)
            moved += weight[..., None] * image[cell[..., 0], cell[..., 1]]
    if outside == "gray":
        inside = ((points >= low) & (points <= high)).all(-1)
        moved = jnp.where(inside[..., None], moved, _GRAY)
    return jnp.where(_within(hw, content)[..., None], moved, image)


def moved_mask(mask: Any, motion: Motion, *, content_yxyx: Any, scale_yx: Any) -> Any:
    """Returns a mask (H, W) moved within its content, nearest, mirrored at its border."""
    xp = _of(mask)
    content = xp.asarray(content_yxyx, xp.float32)
    points = source_points(mask.shape, motion, content_yxyx=content, scale_yx=scale_yx)
    cell = xp.floor(reflected(points, content))
    cell = xp.clip(cell, content[:2], content[2:] - 1).astype(xp.int32)
    moved = mask[cell[..., 0], cell[..., 1]]
    return xp.where(_within(mask.shape, content), moved, mask)


def moved_boxes(
    boxes_xyxy: Any, motion: Motion, *, content_yxyx: Any, scale_yx: Any
) -> tuple[Any, Any]:
    """Returns the boxes around moved boxes (M, 4), cut at the content, and what is left.

    A turned box becomes the upright box around its four corners, which is larger than the
    one around the object, unless it is turned by multiples of 90 degrees.

    Returns:
        (M, 4) boxes, and (M,) the share of the uncut box that each is; 0 if nothing is.
    """
    xp = _of(boxes_xyxy)
    content = xp.asarray(content_yxyx, xp.float32)
    corners = boxes_xyxy[:, xp.asarray([[1, 0], [1, 2], [3, 0], [3, 2]])]  # (M, 4, yx)
    points = moved_points(corners, motion, content_yxyx=content, scale_yx=scale_yx)
    whole = xp.concatenate([points.min(1)[:, ::-1], points.max(1)[:, ::-1]], -1)
    top, left, bottom, right = content
    low, high = xp.stack([left, top] * 2), xp.stack([right, bottom] * 2)
    cut = xp.clip(whole, low, high)
    area, left_over = (_sides(boxes).prod(-1) for boxes in (whole, cut))
    share = xp.where(area > 0, left_over / xp.where(area > 0, area, 1.0), 0.0)
    return cut.astype(xp.float32), share


def reflected(points_yx: Any, content_yxyx: Any) -> Any:
    """Returns points (..., 2) mirrored at the borders of the content until inside."""
    xp = _of(points_yx)
    low, size = content_yxyx[:2], content_yxyx[2:] - content_yxyx[:2]
    # The content of an empty row of a batch may have no size.
    period = 2.0 * xp.maximum(size, 1.0)
    away = xp.mod(points_yx - low, period)
    return low + xp.minimum(away, period - away)


def _turn(motion: Motion, xp: Any) -> tuple[Any, Any]:
    """Returns cosine and sine; exact for multiples of 90 degrees."""
    quarters = xp.round(xp.asarray(motion.degrees, xp.float32) / 90.0)
    rest = xp.deg2rad(motion.degrees - 90.0 * quarters)
    cos, sin = xp.cos(rest), xp.sin(rest)
    quarter = xp.mod(quarters, 4.0)
    whole_cos = xp.where(quarter == 0, 1.0, xp.where(quarter == 2, -1.0, 0.0))
    whole_sin = xp.where(quarter == 1, 1.0, xp.where(quarter == 3, -1.0, 0.0))
    return cos * whole_cos - sin * whole_sin, sin * whole_cos + cos * whole_sin


def _center(content_yxyx: Any, xp: Any) -> tuple[Any, Any]:
    content = xp.asarray(content_yxyx, xp.float32)
    return (content[:2] + content[2:]) / 2.0, content[2:] - content[:2]


def _within(hw: tuple[int, ...], content_yxyx: Any) -> Any:
    xp = _of(content_yxyx)
    rows, columns = xp.arange(hw[0])[:, None], xp.arange(hw[1])
    top, left, bottom, right = content_yxyx
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _sides(boxes_xyxy: Any) -> Any:
    return boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]


def _of(array: Any) -> Any:
    return jnp if isinstance(array, jax.Array) else np
