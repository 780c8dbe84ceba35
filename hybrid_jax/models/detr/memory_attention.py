"""Attention of a set head's queries to the memory: to all of its cells or to a few points.

The encoder and the decoder of DETR look at the image in the same way, whoever asks.
"""

import jax
import numpy as np
from flax import nnx

from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.detr.post_norm import QueryAttention, unseen_bias
from hybrid_jax.models.layers.deformable import DeformableAttention
from hybrid_jax.specs import ViTSpec


def memory_attention(
    spec: ViTSpec, *, levels: int, deformable: bool, rngs: nnx.Rngs
) -> QueryAttention | DeformableAttention:
    """Returns the attention that `look` goes through.

    Args:
        spec: gives width, heads and dtype.
        levels: number of maps of the memory.
        deformable: whether a few points of every map are looked at (Zhu et al., 2020)
            instead of all cells (Carion et al., 2020).
    """
    if not deformable:
        return QueryAttention(spec, rngs=rngs)
    D = spec.width
    return DeformableAttention(
        spec, query_dim=D, value_dim=D, dim=D, heads=spec.heads, levels=levels, rngs=rngs
    )


def look(
    attention: QueryAttention | DeformableAttention,
    query: jax.Array,
    memory: Memory,
    *,
    references_px: jax.Array | np.ndarray | None,
    sizes_px: jax.Array | None = None,
) -> jax.Array:
    """Returns what queries (B, Q, D), positions included, find in the memory: (B, Q, D).

    Args:
        references_px: (Q, 2) or (B, Q, 2), (x, y) of each query, and
        sizes_px: (B, Q, 2), width and height of its box: where to look for points;
            attention to all cells needs neither.
    """
    if isinstance(attention, DeformableAttention):
        maps, masks = memory.maps(), memory.masks()
        return attention(query, references_px, maps, sizes_px=sizes_px, masks=masks)
    bias = None
    if memory.mask is not None:
        bias = unseen_bias(memory.mask[:, None, None, :])
    return attention(query, memory.tokens + memory.positions, memory.tokens, bias=bias)
