"""Bilinear sampling of maps at any rows and columns, as two matrix products.

Positions are in cells: 0.0 is the center of the first cell. Positions beyond the outermost
centers are clamped. Results are exact to float32 rounding on every backend, and the
gradient needs no scatter.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from hybrid_jax.array_types import AnyArray, Array, Map


def centers(count: int, *, stride: float) -> Float32[Array, " {count}"]:
    """Returns (count,) float32: positions of pixel centers in a map of this stride."""
    return jnp.asarray((np.arange(count) + 0.5) / stride - 0.5, jnp.float32)


def linear_weights(
    positions: Float[AnyArray, "*n"], size: int
) -> Float[AnyArray, "*n {size}"]:
    """Returns (..., n, size): the weight of each cell at positions (..., n), clamped.

    The weights of linear interpolation; numpy arrays give numpy arrays of the same dtype.
    """
    xp: Any = jnp if isinstance(positions, jax.Array) else np
    inside = xp.clip(positions, 0.0, size - 1.0)
    distance = xp.abs(inside[..., None] - xp.arange(size, dtype=inside.dtype))
    return xp.maximum(1.0 - distance, 0.0)


def sample(
    x: Map,
    rows: Float[Array, "H h"] | Float[Array, "B H h"],
    columns: Float[Array, "W w"] | Float[Array, "B W w"],
) -> Float[Array, "B H W C"]:
    """Samples a map (B, h, w, C) on a grid of rows and columns.

    Args:
        rows: (H, h), or (B, H, h) for separate rows per image, from `linear_weights`.
        columns: (W, w) or (B, W, w).

    Returns:
        (B, H, W, C) in the dtype of `x`.
    """
    exact = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    for weights, equation in ((rows, "{}nh,bhwc->bnwc"), (columns, "{}nw,bhwc->bhnc")):
        own = "b" if weights.ndim == 3 else ""
        x = jnp.einsum(equation.format(own), weights.astype(x.dtype), x, precision=exact)
    return x


def upsample_align_corners(
    x: Map, *, factor: int
) -> Float[Array, "B h*{factor} w*{factor} C"]:
    """Upsamples (B, h, w, C) bilinearly as torch with `align_corners=True`.

    Published DPT weights need it. Cells move by up to half a cell in the image, so other
    code of this library uses `rescale.upsample`.
    """
    rows, columns = (
        linear_weights(jnp.asarray(np.linspace(0.0, n - 1.0, n * factor), jnp.float32), n)
        for n in x.shape[1:3]
    )
    return sample(x, rows, columns)
