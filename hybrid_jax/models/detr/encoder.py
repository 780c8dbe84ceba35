"""The encoder of DETR: self-attention of the cells, with positions added in every layer.

    x = norm(x + attend(x + positions))
    x = norm(x + feed_forward(x))                                            (B, N, D)

Attention is over all cells (Carion et al., 2020), with values that have no positions, or
over a few sampled points of every level (Zhu et al., 2020).
"""

import dataclasses

import jax
from flax import nnx

from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.detr.memory_attention import attend_to_memory, memory_attention
from hybrid_jax.models.detr.post_norm import AddAndNorm, FeedForward
from hybrid_jax.specs import ViTSpec


class DETREncoder(nnx.Module):
    """Post-norm encoder layers over the cells of all levels.

    Args:
        spec: gives depth, width, heads, hidden width, dropout rate and dtype.
        levels: number of maps.
        deformable: whether cells attend to a few sampled points instead of all cells.
    """

    def __init__(self, spec: ViTSpec, *, levels: int, deformable: bool, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [
                EncoderLayer(spec, levels=levels, deformable=deformable, rngs=rngs)
                for _ in range(spec.depth)
            ]
        )

    def __call__(self, memory: Memory, *, key: jax.Array | None) -> Memory:
        """Returns the memory with encoded tokens; `key` switches dropout on."""
        for index, layer in enumerate(self.layers):
            layer_key = None if key is None else jax.random.fold_in(key, index)
            memory = dataclasses.replace(memory, tokens=layer(memory, key=layer_key))
        return memory


class EncoderLayer(nnx.Module):
    """Self-attention of the cells and a feed-forward layer."""

    def __init__(self, spec: ViTSpec, *, levels: int, deformable: bool, rngs: nnx.Rngs):
        self.attn = memory_attention(spec, levels=levels, deformable=deformable, rngs=rngs)
        self.add1 = AddAndNorm(spec, rngs=rngs)
        self.ffn = FeedForward(spec, rngs=rngs)
        self.add2 = AddAndNorm(spec, rngs=rngs)

    def __call__(self, memory: Memory, *, key: jax.Array | None) -> jax.Array:
        """Returns the encoded tokens (B, N, D)."""
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        x = memory.tokens
        assert memory.positions is not None  # made for every encoder
        y = attend_to_memory(
            self.attn, x + memory.positions, memory, references_px=memory.centers_px()
        )
        x = self.add1(x, y, key=keys[0])
        return self.add2(x, self.ffn(x, key=keys[1]), key=keys[2])
