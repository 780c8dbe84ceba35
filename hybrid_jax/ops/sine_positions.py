"""DETR's fixed positions of cells, which span the real part of a padded image."""

import jax
import jax.numpy as jnp
import numpy as np


def sine_positions(
    mask: jax.Array, dim: int, *, temperature: float = 10_000.0
) -> jax.Array:
    """Returns (B, h, w, dim) float32: sines and cosines of the row, then of the column.

    Rows and columns are counted from 1 over the real cells alone and divided by their
    number, so that the last one lies at 2 pi whatever the size (Carion et al., 2020).

    Args:
        mask: (B, h, w) bool, True for real cells.
        dim: a multiple of 4; sine and cosine of one frequency stand side by side.
    """
    half = dim // 2
    omega = temperature ** -(2.0 * (np.arange(half) // 2) / half)
    counts = mask.astype(jnp.float32)
    sides = []
    for axis in (1, 2):
        number = jnp.cumsum(counts, axis)
        last = jax.lax.slice_in_dim(number, number.shape[axis] - 1, None, axis=axis)
        angle = (2.0 * np.pi * number / (last + 1e-6))[..., None] * omega
        pairs = [jnp.sin(angle[..., 0::2]), jnp.cos(angle[..., 1::2])]
        sides.append(jnp.stack(pairs, axis=-1).reshape(angle.shape))
    return jnp.concatenate(sides, axis=-1).astype(jnp.float32)
