"""Means over a fixed number of bins, whatever the map's size (pyramid pooling)."""

import jax
import jax.numpy as jnp
import numpy as np


def adaptive_mean(x: jax.Array, *, bins: int) -> jax.Array:
    """Averages (B, h, w, C) to (B, bins, bins, C).

    Bin i covers the rows from floor(i * h / bins) to ceil((i + 1) * h / bins), so that
    neighbours share a row where h is no multiple, and repeat rows where h is smaller.
    """
    rows, columns = (
        jnp.asarray(_shares(size, bins), x.dtype) for size in (x.shape[1], x.shape[2])
    )
    x = jnp.einsum("nh,bhwc->bnwc", rows, x)
    return jnp.einsum("mw,bnwc->bnmc", columns, x)


def _shares(size: int, bins: int) -> np.ndarray:
    """Returns (bins, size): each row is the mean over one bin."""
    shares = np.zeros((bins, size))
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        shares[i, start:stop] = 1.0 / (stop - start)
    return shares
