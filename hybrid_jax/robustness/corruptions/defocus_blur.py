"""Defocus: the image through a round aperture."""

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.robustness.corruptions.linear_maps import apply_to_both, filter_matrix


def defocus_blur(
    image: jax.Array, key: jax.Array, *, level: tuple[float, float]
) -> jax.Array:
    """Correlates (H, W, 3) with a disk; nothing is random.

    The disk is a sum of at most 11 products of a column and a row, by its singular values.

    Args:
        level: radius in px; sigma of the Gaussian that softens the disk's edge.
    """
    del key
    left, values, right = np.linalg.svd(disk(*level))
    height, width = image.shape[:2]
    blurred = jnp.zeros_like(image)
    for column, value, row in zip(left.T, values, right, strict=True):
        if value > 1e-7 * values[0]:
            rows = filter_matrix(column * value, height, border="reflect")
            columns = filter_matrix(row, width, border="reflect")
            blurred = blurred + apply_to_both(image, rows, columns)
    return jnp.clip(blurred, 0.0, 255.0)


def disk(radius: float, sigma: float) -> np.ndarray:
    """Returns the kernel (k, k) of sum 1 for a radius and a softening in px."""
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    at = np.arange(-reach, reach + 1)
    kernel = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    offsets = np.arange(taps) - taps // 2
    soft = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = filter_matrix(soft / soft.sum(), len(at), border="reflect")
    return matrix @ (kernel / kernel.sum()) @ matrix.T
