"""Linear maps of rows and columns: out = A image B^T, for blurs and changes of scale.

Two products of matrices are exact for every kind of border, and quick on every device;
depthwise convolutions are slow on CPUs.
"""

import jax
import jax.numpy as jnp
import numpy as np

# Not bfloat16 or TF32 products: they would be off by whole gray levels.
_EXACT = jax.lax.Precision.HIGHEST


def apply_to_rows(image: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Returns (h, W, C), the `matrix` (h, H) times `image` (H, W, C)."""
    matrix = matrix.astype(np.float32)
    return jnp.einsum("hH,HWC->hWC", matrix, image, precision=_EXACT)


def apply_to_columns(image: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Returns (H, w, C), the `matrix` (w, W) times the columns of `image` (H, W, C)."""
    matrix = matrix.astype(np.float32)
    return jnp.einsum("wW,HWC->HwC", matrix, image, precision=_EXACT)


def apply_to_both(image: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Returns (h, w, C): `rows` (h, H) and `columns` (w, W) times `image` (H, W, C)."""
    return apply_to_columns(apply_to_rows(image, rows), columns)


def border_index(index: np.ndarray, size: int, *, border: str) -> np.ndarray:
    """Returns the pixel of 0 ... size - 1 that stands for each index, inside or outside.

    Args:
        index: int, any shape.
        size: px.
        border: "nearest" (aaa|abc), "symmetric" (cba|abc) or "reflect" (dcb|abcd).
    """
    if border == "nearest" or size == 1:
        return np.clip(index, 0, size - 1)
    period = 2 * size if border == "symmetric" else 2 * size - 2
    index = np.mod(index, period)
    mirrored = period - 1 - index if border == "symmetric" else period - index
    return np.where(index < size, index, mirrored)


def filter_matrix(taps: np.ndarray, size: int, *, border: str) -> np.ndarray:
    """Returns (size, size): the correlation with an odd number of taps, as a matrix."""
    radius = len(taps) // 2
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for offset, tap in zip(range(-radius, radius + 1), taps, strict=True):
        columns = border_index(rows + offset, size, border=border)
        np.add.at(matrix, (rows, columns), tap)
    return matrix


def gaussian_taps(sigma: float, *, truncate: float) -> np.ndarray:
    """Returns the normalized taps of scipy's `gaussian_filter`."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return np.ones(1)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def gaussian_filter(
    image: jax.Array, *, sigma: float, border: str, truncate: float = 4.0
) -> jax.Array:
    """Blurs (H, W, C) as scipy's `gaussian_filter` does; `sigma` in px."""
    taps = gaussian_taps(sigma, truncate=truncate)
    rows, columns = (filter_matrix(taps, n, border=border) for n in image.shape[:2])
    return apply_to_both(image, rows, columns)


def zoom_matrix(size: int, factor: float) -> np.ndarray:
    """Returns (round(n * factor), size): the middle n = ceil(size / factor) px, enlarged.

    Linear interpolation with corners on corners, as scipy's `zoom` with order 1.
    """
    part = int(np.ceil(size / factor))
    start, out = (size - part) // 2, int(round(part * factor))
    at = np.arange(out) * ((part - 1) / max(out - 1, 1))
    low = np.minimum(np.floor(at).astype(int), part - 1)
    high = np.minimum(low + 1, part - 1)
    matrix = np.zeros((out, size))
    np.add.at(matrix, (np.arange(out), start + low), 1.0 - (at - low))
    np.add.at(matrix, (np.arange(out), start + high), at - low)
    return matrix
