"""Evaluation's resizing, cropping and padding as part of a program, for images of any size.

The data pipeline does this with Pillow. Here it is one resampling whose scale is computed
from the size, with the same antialiased filters and the same rounding to gray levels;
single pixels differ by a level.
"""

import jax
import jax.numpy as jnp
from flax import struct

from hybrid_jax.data.transforms.center_crop import CenterCrop
from hybrid_jax.data.transforms.letterbox import Letterbox
from hybrid_jax.data.transforms.placement import PADDING_U8
from hybrid_jax.data.transforms.recipe import FixedTransform
from hybrid_jax.data.transforms.resize import Resize

_METHODS = dict(bicubic="cubic", bilinear="linear")


@struct.dataclass
class PlacedImages:
    """Images brought to one size, and their geometry as in `contracts.Batch`."""

    image: jax.Array
    geometry: dict[str, jax.Array]


def place(images_u8: jax.Array, transform: FixedTransform) -> PlacedImages:
    """Applies a step of evaluation to (B, H, W, 3) uint8; H and W may be symbols.

    Returns:
        `image` (B, h, w, 3) float32 of whole numbers in [0, 255], and its geometry.

    Raises:
        TypeError: a step that evaluation does not have.
    """
    if not isinstance(transform, CenterCrop | Letterbox | Resize):
        raise TypeError(f"place: expected a step of evaluation, got {transform!r}.")
    B, H, W, _ = images_u8.shape
    frame_hw = transform.hw
    original = jnp.stack([_number(H), _number(W)])
    resized, offset = _placement(transform, original)
    scale = resized.astype(jnp.float32) / original.astype(jnp.float32)
    image = jax.image.scale_and_translate(
        images_u8.astype(jnp.float32),
        (B, *frame_hw, 3),
        (1, 2),
        scale,
        offset.astype(jnp.float32),
        method=_METHODS[transform.interpolation],
        antialias=True,
    )
    image = jnp.clip(jnp.round(image), 0.0, 255.0)
    first = jnp.maximum(offset, 0)
    last = jnp.minimum(offset + resized, jnp.asarray(frame_hw))
    image = jnp.where(_inside(first, last, frame_hw), image, float(PADDING_U8))
    of_one = dict(
        original_hw=original,
        scale_yx=scale,
        offset_yx=offset.astype(jnp.float32),
        content_yxyx_px=jnp.concatenate([first, last]),
    )
    geometry = {k: jnp.broadcast_to(x, (B, *x.shape)) for k, x in of_one.items()}
    return PlacedImages(image, geometry)


def _placement(
    transform: CenterCrop | Letterbox | Resize, original: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the size that images are resized to, and where their corner then lies."""
    frame, nowhere = jnp.asarray(transform.hw), jnp.zeros(2, jnp.int32)
    if isinstance(transform, Resize):
        return frame, nowhere
    if isinstance(transform, Letterbox):
        scale = jnp.min(frame / original)
        fitted = jnp.round(original * scale).astype(jnp.int32)
        return jnp.clip(fitted, 1, frame), nowhere
    covered = jnp.floor(frame / transform.share).astype(jnp.int32)
    H, W = original[0], original[1]
    by_height = jnp.stack([covered[0], jnp.maximum(covered[1], covered[0] * W // H)])
    by_width = jnp.stack([jnp.maximum(covered[0], covered[1] * H // W), covered[1]])
    resized = jnp.where(covered[0] * W >= covered[1] * H, by_height, by_width)
    return resized, -jnp.round((resized - frame) / 2).astype(jnp.int32)


def _inside(first: jax.Array, last: jax.Array, hw: tuple[int, int]) -> jax.Array:
    """Returns (h, w, 1) bool, whether a pixel of the frame holds a part of the image."""
    rows, columns = (
        (jnp.arange(size) >= first[axis]) & (jnp.arange(size) < last[axis])
        for axis, size in enumerate(hw)
    )
    return (rows[:, None] & columns)[..., None]


def _number(side) -> jax.Array:
    """Returns a side, which may be a symbol, as () int32."""
    return jnp.asarray(side, jnp.int32)
