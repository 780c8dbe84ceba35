"""Large pixels."""

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.robustness.corruptions.linear_maps import (
    apply_to_columns,
    apply_to_rows,
)


def pixelate(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Shrinks (H, W, 3) to `level` of its size and enlarges it; nothing is random."""
    del key
    height, width = image.shape[:2]
    small = [max(1, int(n * level)) for n in (height, width)]
    # Rounded after each direction, halves up, as PIL does.
    image = jnp.floor(apply_to_columns(image, _box_matrix(width, small[1])) + 0.5)
    image = jnp.floor(apply_to_rows(image, _box_matrix(height, small[0])) + 0.5)
    return image[_nearest(small[0], height)][:, _nearest(small[1], width)]


def _box_matrix(size: int, out: int) -> np.ndarray:
    """Returns (out, size): means of whole pixels, as PIL's BOX."""
    scale = size / out
    centers = (np.arange(out)[:, None] + 0.5) * scale
    pixels = np.arange(size)
    # PIL's two conditions, in its order of sums: both decide about a pixel whose center
    # lies on the border of two large pixels.
    first, end = ((centers + sign * 0.5 * scale + 0.5).astype(int) for sign in (-1, 1))
    offset = (pixels - centers + 0.5) * (1.0 / scale)
    weights = (offset > -0.5) & (offset <= 0.5) & (pixels >= first) & (pixels < end)
    return weights / weights.sum(1, keepdims=True)


def _nearest(size: int, out: int) -> np.ndarray:
    return ((np.arange(out) + 0.5) * (size / out)).astype(int)
