"""Attention to the memory: over all cells, or over a few sampled points.

Both the encoder and the decoder of DETR use it.
"""

import jax
import numpy as np
from flax import nnx

from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.detr.post_norm import QueryAttention
from hybrid_jax.models.layers.deformable import DeformableAttention
from hybrid_jax.specs import ViTSpec


def memory_attention(
    spec: ViTSpec, *, levels: int, deformable: bool, rngs: nnx.Rngs
) -> QueryAttention | DeformableAttention:
    """Returns the module that `attend_to_memory` takes.

    Args:
        spec: gives width, heads and dtype.
        levels: number of maps of the memory.
        deformable: whether attention is over a few sampled points of every map (Zhu et
            al., 2020) instead of all cells (Carion et al., 2020).
    """
    if not deformable:
        return QueryAttention(spec, rngs=rngs)
    D = spec.width
    return DeformableAttention(
        spec,
        query_dim=D,
        value_dim=D,
        dim=D,
        num_heads=spec.num_heads,
        levels=levels,
        rngs=rngs,
    )


def attend_to_memory(
    attention: QueryAttention | DeformableAttention,
    query: jax.Array,
    memory: Memory,
    *,
    references_px: jax.Array | np.ndarray | None,
    sizes_px: jax.Array | None = None,
) -> jax.Array:
    """Maps queries (B, Q, D), positions included, to (B, Q, D).

    Args:
        references_px: (Q, 2) or (B, Q, 2), the reference point (x, y) of each query;
            used by deformable attention only.
        sizes_px: (B, Q, 2), width and height of the reference box of each query; used by
            deformable attention only.
    """
    if isinstance(attention, DeformableAttention):
        assert references_px is not None
        maps, masks = memory.maps(), memory.masks()
        return attention(query, references_px, maps, sizes_px=sizes_px, masks=masks)
    mask = None if memory.mask is None else memory.mask[:, None, None, :]
    assert memory.positions is not None  # made for all but deformable attention
    return attention(query, memory.tokens + memory.positions, memory.tokens, mask=mask)
