"""Blur from a zoom during the exposure."""

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.robustness.corruptions.linear_maps import apply_to_both, zoom_matrix


def zoom_blur(image: jax.Array, key: jax.Array, *, level: tuple[float, float]) -> jax.Array:
    """Averages (H, W, 3) with enlarged copies of its middle; nothing is random.

    Args:
        level: end (not reached) and step of the factors, which begin at 1.
    """
    del key
    factors = np.arange(1.0, *level)
    height, width = image.shape[:2]
    total = image
    for factor in factors:
        rows = zoom_matrix(height, factor)[:height]
        columns = zoom_matrix(width, factor)[:width]
        total = total + apply_to_both(image, rows, columns)
    return jnp.clip(total / (len(factors) + 1), 0.0, 255.0)
