"""The encoder of DETR: cells of the maps attend to cells, positions added in every layer.

    x = norm(x + attend(x + positions))
    x = norm(x + feed_forward(x))                                            (B, N, D)

All cells attend to all (Carion et al., 2020), values without positions; or each to a few
points of every level (Zhu et al., 2020).
"""

import jax
from flax import nnx

from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.detr.memory_attention import look, memory_attention
from hybrid_jax.models.detr.post_norm import AddAndNorm, FeedForward
from hybrid_jax.specs import ViTSpec


class DETREncoder(nnx.Module):
    """Post-norm layers over a row of cells.

    Args:
        spec: gives depth, width, heads, hidden width, dropout rate and dtype.
        levels: number of maps.
        deformable: whether cells look at a few points instead of at all cells.
    """

    def __init__(self, spec: ViTSpec, *, levels: int, deformable: bool, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [
                EncoderLayer(spec, levels=levels, deformable=deformable, rngs=rngs)
                for _ in range(spec.depth)
            ]
        )

    def __call__(self, memory: Memory, *, key: jax.Array | None) -> Memory:
        """Returns the memory with other tokens; `key` switches dropout on."""
        for index, layer in enumerate(self.layers):
            layer_key = None if key is None else jax.random.fold_in(key, index)
            memory = memory.replace(tokens=layer(memory, key=layer_key))
        return memory


class EncoderLayer(nnx.Module):
    """Attention of the cells and a feed-forward layer."""

    def __init__(self, spec: ViTSpec, *, levels: int, deformable: bool, rngs: nnx.Rngs):
        self.attn = memory_attention(spec, levels=levels, deformable=deformable, rngs=rngs)
        self.add1 = AddAndNorm(spec, rngs=rngs)
        self.ffn = FeedForward(spec, rngs=rngs)
        self.add2 = AddAndNorm(spec, rngs=rngs)

    def __call__(self, memory: Memory, *, key: jax.Array | None) -> jax.Array:
        """Returns new tokens (B, N, D)."""
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        x = memory.tokens
        seen = look(
            self.attn, x + memory.positions, memory, references_px=memory.centers_px()
        )
        x = self.add1(x, seen, key=keys[0])
        return self.add2(x, self.ffn(x, key=keys[1]), key=keys[2])
