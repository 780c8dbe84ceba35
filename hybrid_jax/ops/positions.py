"""Position embeddings of grid cells: sincos, rotary, and resizing of learned grids."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from hybrid_jax.array_types import Array
from hybrid_jax.ops.bilinear import linear_weights


def resize_grid(
    grid: Float[Array, "h w D"], hw: tuple[int, int], *, method: str
) -> Float[Array, "{hw[0]} {hw[1]} D"]:
    """Resizes a learned grid of position embeddings to another grid.

    Args:
        grid: (h, w, D).
        hw: the new (h, w), of any aspect ratio.
        method: "corner_linear" (aligned corners, as `scipy.ndimage.zoom` of order 1 in
            vit_jax), "bilinear" (half-pixel centers, no antialiasing) or "bicubic_aa"
            (antialiased, as timm).

    Returns:
        (hw[0], hw[1], D) in the dtype of `grid`.
    """
    if grid.shape[:2] == tuple(hw):
        return grid
    if method == "corner_linear":
        rows, columns = (
            jnp.asarray(_corner_linear(old, new), grid.dtype)
            for old, new in zip(grid.shape[:2], hw, strict=True)
        )
        # High precision: on TPU a plain float32 product would round to bfloat16.
        return jnp.einsum("Hh,hwD,Ww->HWD", rows, grid, columns, precision="highest")
    kernel, antialias = {"bilinear": ("linear", False), "bicubic_aa": ("cubic", True)}[
        method
    ]
    return jax.image.resize(
        grid,
        (*hw, grid.shape[-1]),
        kernel,
        antialias=antialias,
        precision=jax.lax.Precision.HIGHEST,
    )


def sample_grid(
    grid: Float[Array, "h w D"], hw: tuple[int, int], *, extent: tuple[float, float]
) -> Float[Array, "{hw[0]} {hw[1]} D"]:
    """Samples a learned grid bilinearly at the cell centers of another grid.

    Unlike `resize_grid`, the two grids need not cover the same area: the cells of a coarse
    map may extend past the image, and cells of all sizes get the same embedding at the same
    place.

    Args:
        grid: (h, w, D).
        hw: (h, w) of the result.
        extent: height and width of `grid` in cells of the result; positions outside are
            clamped.

    Returns:
        (hw[0], hw[1], D) in the dtype of `grid`.
    """
    if grid.shape[:2] == tuple(hw) == tuple(extent):
        return grid
    rows, columns = (
        jnp.asarray(
            linear_weights((np.arange(new) + 0.5) * old / length - 0.5, old), grid.dtype
        )
        for old, new, length in zip(grid.shape[:2], hw, extent, strict=True)
    )
    return jnp.einsum("Hh,hwD,Ww->HWD", rows, grid, columns, precision="highest")


def _corner_linear(old: int, new: int) -> np.ndarray:
    """Returns the (new, old) matrix of corner-aligned linear interpolation."""
    return linear_weights(np.linspace(0.0, old - 1, new) if new > 1 else np.zeros(1), old)


def sincos2d(
    hw: tuple[int, int], dim: int, *, spacing: float = 1.0, temperature: float = 10_000.0
) -> Float32[np.ndarray, "{hw[0]} {hw[1]} {dim}"]:
    """Returns a fixed (h, w, dim) float32 table: sines and cosines of column, then row.

    Order and temperature are those of MoCo v3 (Chen et al., 2021), as in big_vision. With
    `spacing`, cells are that many times as wide: positions agree with a grid of spacing 1.
    """
    omega = temperature ** -np.linspace(0.0, 1.0, dim // 4)
    rows, columns = (np.mgrid[: hw[0], : hw[1]] + 0.5) * spacing - 0.5
    by_column, by_row = columns[..., None] * omega, rows[..., None] * omega
    table = (np.sin(by_column), np.cos(by_column), np.sin(by_row), np.cos(by_row))
    return np.concatenate(table, axis=-1).astype(np.float32)


def rope2d(
    hw: tuple[int, int],
    head_dim: int,
    *,
    temperature: float = 100.0,
    extent: tuple[float, float] | None = None,
) -> tuple[Float32[np.ndarray, "N {head_dim}"], Float32[np.ndarray, "N {head_dim}"]]:
    """Returns the cosines and sines (N, head_dim) of rotary positions.

    Half of the channel pairs rotate with the row, half with the column. Coordinates are in
    [-1, 1] along both sides, so that all grid sizes span the same angles; the temperature
    is DINOv3's (2025). `extent` is the height and width of the image in cells, `hw` if
    None: with it, grids of different strides agree on positions.
    """
    period = temperature ** (np.arange(head_dim // 4) * 4.0 / head_dim)
    lengths = hw if extent is None else extent
    sides = [
        2.0 * (np.arange(n) + 0.5) / length - 1.0
        for n, length in zip(hw, lengths, strict=True)
    ]
    rows, columns = np.meshgrid(*sides, indexing="ij")
    angles = np.stack([rows, columns], -1)[..., None] * 2.0 * np.pi / period
    angles = angles.reshape(hw[0] * hw[1], head_dim // 2)
    angles = np.concatenate([angles, angles], axis=-1).astype(np.float32)
    return np.cos(angles), np.sin(angles)


def rotate(
    x: Float[Array, "B total heads d"],
    cosines: Float[np.ndarray, "N d"],
    sines: Float[np.ndarray, "N d"],
) -> Float[Array, "B total heads d"]:
    """Rotates the last N tokens; prefix tokens (class, registers) are not changed.

    Args:
        x: (B, prefix + N, heads, d).
        cosines: (N, d) from `rope2d`.
        sines: (N, d).
    """
    prefix = x.shape[1] - cosines.shape[0]
    tokens = x[:, prefix:].astype(jnp.float32)
    first, second = jnp.split(tokens, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    rotated = tokens * cosines[:, None] + turned * sines[:, None]
    return jnp.concatenate([x[:, :prefix], rotated.astype(x.dtype)], axis=1)
