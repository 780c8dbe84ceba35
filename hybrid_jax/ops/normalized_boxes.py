"""Boxes as shares of an image and in its pixels."""

import jax
import jax.numpy as jnp

from hybrid_jax.ops.boxes import convert_boxes


def normalize_boxes(boxes_xyxy_px: jax.Array, *, image_hw: tuple[int, int]) -> jax.Array:
    """Returns cxcywh (..., 4) as shares of an image of (H, W) px, float32."""
    size = jnp.asarray((*image_hw[::-1], *image_hw[::-1]), jnp.float32)
    return convert_boxes(boxes_xyxy_px.astype(jnp.float32) / size, "xyxy", "cxcywh")


def boxes_to_px(boxes_cxcywh: jax.Array, *, image_hw: tuple[int, int]) -> jax.Array:
    """Returns xyxy (..., 4) in px of an image of (H, W) px."""
    size = jnp.asarray((*image_hw[::-1], *image_hw[::-1]), jnp.float32)
    return convert_boxes(boxes_cxcywh, "cxcywh", "xyxy") * size


def content_to_image_boxes(shares_of_content: jax.Array, mask_px: jax.Array) -> jax.Array:
    """Turns shares of the content into shares of the whole image; cxcywh (B, Q, 4).

    Args:
        mask_px: (B, H, W) bool, True in a rectangle, the content.
    """
    scales, offsets = [], []
    for axis, length in ((1, mask_px.shape[2]), (2, mask_px.shape[1])):  # x, then y
        real = mask_px.any(axis)
        scales.append(real.sum(1) / length)
        offsets.append(real.argmax(1) / length)
    scale, offset = jnp.stack(scales, -1)[:, None], jnp.stack(offsets, -1)[:, None]
    middle = shares_of_content[..., :2] * scale + offset
    return jnp.concatenate([middle, shares_of_content[..., 2:] * scale], axis=-1)
