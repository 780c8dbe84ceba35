"""Attention rollout: through all blocks back to the image (Abnar and Zuidema, 2020)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

_KEPT = 0.5  # share that a residual connection keeps, as in the paper


def rollout(
    weights: Sequence[jax.Array],
    *,
    bridges: Sequence[jax.Array | np.ndarray | None] | None = None,
) -> jax.Array:
    """Returns how much each last token is made of each first token.

    A block is half of the mean attention of its heads and half of the identity, for the
    residual connection; blocks are multiplied. Values, norms and MLPs are left out.

    Args:
        weights: of every block in order, (B, heads, N, N).
        bridges: for every block (N, N'), what its tokens are of those N' before it; None
            where they are the same.

    Returns:
        (B, N of the last block, N of the first block); rows sum to 1.
    """
    bridges = [None] * len(weights) if bridges is None else bridges
    total = None
    for block, bridge in zip(weights, bridges, strict=True):
        mixed = (1.0 - _KEPT) * block.mean(1) + _KEPT * jnp.eye(block.shape[-1])
        if bridge is not None:
            mixed = mixed @ bridge
        total = mixed if total is None else mixed @ total
    assert total is not None
    return total
