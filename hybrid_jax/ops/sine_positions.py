"""DETR's fixed sine positions, normalized by the part of an image without padding."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from hybrid_jax.array_types import Array, CellMask


def sine_positions(
    mask: CellMask, dim: int, *, temperature: float = 10_000.0
) -> Float32[Array, "B h w {dim}"]:
    """Returns (B, h, w, dim) float32: sines and cosines of the row, then of the column.

    Rows and columns are counted from 1 over the cells that are not padding and divided by
    their number, so that the last one is at 2 pi for any size (Carion et al., 2020).

    Args:
        mask: (B, h, w) bool, False for cells of padding.
        dim: a multiple of 4; sine and cosine of a frequency are adjacent.
    """
    half = dim // 2
    omega = temperature ** -(2.0 * (np.arange(half) // 2) / half)
    counts = mask.astype(jnp.float32)
    sides = []
    for axis in (1, 2):
        number = jnp.cumsum(counts, axis=axis)
        last = jax.lax.slice_in_dim(number, number.shape[axis] - 1, None, axis=axis)
        angle = (2.0 * np.pi * number / (last + 1e-6))[..., None] * omega
        pairs = [jnp.sin(angle[..., 0::2]), jnp.cos(angle[..., 1::2])]
        sides.append(jnp.stack(pairs, axis=-1).reshape(angle.shape))
    return jnp.concatenate(sides, axis=-1).astype(jnp.float32)
