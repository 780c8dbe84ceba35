"""Normalized boxes and boxes in px."""

import jax.numpy as jnp
from jaxtyping import Float

from hybrid_jax.array_types import Array, Boxes, PixelMask
from hybrid_jax.ops.boxes import convert_boxes


def normalize_boxes(boxes_xyxy_px: Boxes, *, image_hw: tuple[int, int]) -> Boxes:
    """Returns normalized cxcywh boxes (..., 4) of xyxy boxes in px, float32."""
    size = jnp.asarray((*image_hw[::-1], *image_hw[::-1]), jnp.float32)
    return convert_boxes(boxes_xyxy_px.astype(jnp.float32) / size, "xyxy", "cxcywh")


def boxes_to_px(boxes_cxcywh: Boxes, *, image_hw: tuple[int, int]) -> Boxes:
    """Returns xyxy boxes (..., 4) in px of normalized cxcywh boxes."""
    size = jnp.asarray((*image_hw[::-1], *image_hw[::-1]), jnp.float32)
    return convert_boxes(boxes_cxcywh, "cxcywh", "xyxy") * size


def content_to_image_boxes(
    boxes_cxcywh: Float[Array, "B Q 4"], mask_px: PixelMask
) -> Float[Array, "B Q 4"]:
    """Maps cxcywh boxes (B, Q, 4) normalized by the content to boxes of the whole image.

    Args:
        mask_px: (B, H, W) bool, False for padding; the content is a rectangle.
    """
    scales, offsets = [], []
    for axis, length in ((1, mask_px.shape[2]), (2, mask_px.shape[1])):  # x, then y
        real = mask_px.any(axis)
        scales.append(real.sum(1) / length)
        offsets.append(real.argmax(1) / length)
    scale, offset = jnp.stack(scales, -1)[:, None], jnp.stack(offsets, -1)[:, None]
    center = boxes_cxcywh[..., :2] * scale + offset
    return jnp.concatenate([center, boxes_cxcywh[..., 2:] * scale], axis=-1)
