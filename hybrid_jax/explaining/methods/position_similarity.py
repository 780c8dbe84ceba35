"""How alike the learned positions of a ViT are (Dosovitskiy et al., 2020, figure 7)."""

import jax
import jax.numpy as jnp


def position_similarity(positions: jax.Array) -> jax.Array:
    """Returns the cosine between the embeddings of every two cells.

    Args:
        positions: (h, w, D).

    Returns:
        (h, w, h, w) float32 from -1 to 1.
    """
    norms = jnp.linalg.norm(positions, axis=-1, keepdims=True)
    units = positions / jnp.maximum(norms, jnp.finfo(jnp.float32).tiny)
    return jnp.einsum("hwd,ijd->hwij", units, units)
