"""Attention distance: how far away heads look (Dosovitskiy et al., 2020, appendix D.7)."""

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.explaining.token_layout import Layout


def attention_distance(weights: jax.Array, *, queries: Layout, keys: Layout) -> jax.Array:
    """Returns the mean distance in px between a query's cell and those it attends to.

    Tokens that are no cells are left out, as queries and, after the softmax, as keys.

    Args:
        weights: (B, heads, N, M).
        queries: of the N queries.
        keys: of the M keys.

    Returns:
        (B, heads) float32.
    """
    offsets = queries.centers_px()[:, None] - keys.centers_px()[None]
    distances = np.linalg.norm(offsets, axis=-1).astype(np.float32)
    weights = weights[:, :, queries.prefix :, keys.prefix :]
    total = jnp.maximum(weights.sum(-1), jnp.finfo(jnp.float32).tiny)
    return ((weights * distances).sum(-1) / total).mean(-1)
