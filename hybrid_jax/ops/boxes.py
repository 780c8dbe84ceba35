"""Boxes: formats, areas and overlaps.

Formats: `xyxy` is (x0, y0, x1, y1), `xywh` corner and size (COCO), `cxcywh` center and
size, `yxyx` TensorFlow's order. All denominators have a lower bound: without one, the
gradient becomes NaN under jit for some batch sizes, even if no box is empty (jaxlib 0.10,
CPU).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Real

from hybrid_jax.array_types import Array, Boxes

_EPS = 1e-7
_Broadcast = Real[Array, "*#n 4"]


def convert_boxes(boxes: Boxes, in_format: str, out_format: str) -> Boxes:
    """Returns boxes (..., 4) in another format and the same units.

    Args:
        in_format: "xyxy", "xywh", "cxcywh" or "yxyx".
        out_format: one of the same.

    Raises:
        ValueError: unknown format.
    """
    return _FROM_XYXY[_known(out_format)](_TO_XYXY[_known(in_format)](boxes))


def box_area(boxes_xyxy: Boxes) -> Real[Array, "*n"]:
    """Returns the areas (...) of boxes (..., 4); zero if corners are swapped."""
    sides = jnp.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(a_xyxy: _Broadcast, b_xyxy: _Broadcast) -> Float[Array, "*n"]:
    """Returns the IoU of boxes (..., 4), broadcast; in [0, 1]."""
    intersection, union = _overlap(a_xyxy, b_xyxy)
    return intersection / jnp.maximum(union, _EPS)


def giou(a_xyxy: _Broadcast, b_xyxy: _Broadcast) -> Float[Array, "*n"]:
    """Returns the generalized IoU (Rezatofighi et al., 2019), in [-1, 1]."""
    intersection, union = _overlap(a_xyxy, b_xyxy)
    low = jnp.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = jnp.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    hull = box_area(jnp.concatenate([low, high], axis=-1))
    gap = (hull - union) / jnp.maximum(hull, _EPS)
    return intersection / jnp.maximum(union, _EPS) - gap


def pairwise_iou(
    a_xyxy: Float[Array, "*#n N 4"], b_xyxy: Float[Array, "*#n M 4"]
) -> Float[Array, "*n N M"]:
    """Returns IoU (..., N, M) of boxes (..., N, 4) with boxes (..., M, 4)."""
    return iou(a_xyxy[..., :, None, :], b_xyxy[..., None, :, :])


def pairwise_giou(
    a_xyxy: Float[Array, "*#n N 4"], b_xyxy: Float[Array, "*#n M 4"]
) -> Float[Array, "*n N M"]:
    """Returns GIoU (..., N, M) of boxes (..., N, 4) with boxes (..., M, 4)."""
    return giou(a_xyxy[..., :, None, :], b_xyxy[..., None, :, :])


def mirrored_boxes(boxes_xyxy_px: Boxes, *, width_px: float) -> Boxes:
    """Returns boxes (..., 4) after a left-right flip of the image."""
    x0, y0, x1, y1 = jnp.moveaxis(boxes_xyxy_px, -1, 0)
    return jnp.stack([width_px - x1, y0, width_px - x0, y1], axis=-1)


def original_boxes(
    boxes_xyxy_px: Float[Array, "B D 4"],
    *,
    scale_yx: Real[Array, "B 2"],
    offset_yx: Real[Array, "B 2"],
    original_hw: Real[Array, "B 2"],
) -> Float[Array, "B D 4"]:
    """Maps boxes (B, D, 4) from px of a resized image to px of the original, clipped.

    Args:
        scale_yx: (B, 2); px of the resized image = original px * scale + offset.
        offset_yx: (B, 2).
        original_hw: (B, 2), height and width in px.
    """
    scale, offset, limit = (
        jnp.tile(pair[:, ::-1], (1, 2))[:, None, :].astype(jnp.float32)
        for pair in (scale_yx, offset_yx, original_hw)
    )
    return jnp.clip((boxes_xyxy_px - offset) / scale, 0.0, limit)


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    intersection = box_area(jnp.concatenate([low, high], axis=-1))
    return intersection, box_area(a) + box_area(b) - intersection


def _known(name: str) -> str:
    if name not in _TO_XYXY:
        raise ValueError(f"box format: expected one of {tuple(_TO_XYXY)}, got {name!r}.")
    return name


def _pair(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.concatenate([first, second], axis=-1)


_TO_XYXY = {
    "xyxy": lambda b: b,
    "xywh": lambda b: _pair(b[..., :2], b[..., :2] + b[..., 2:]),
    "cxcywh": lambda b: _pair(b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2),
    "yxyx": lambda b: b[..., jnp.array([1, 0, 3, 2])],
}
_FROM_XYXY = {
    "xyxy": lambda b: b,
    "xywh": lambda b: _pair(b[..., :2], b[..., 2:] - b[..., :2]),
    "cxcywh": lambda b: _pair((b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]),
    "yxyx": lambda b: b[..., jnp.array([1, 0, 3, 2])],
}
