"""Sublayers of a post-norm transformer (Vaswani et al., 2017), as in DETR.

x = LayerNorm(x + sublayer(x)), where a sublayer is self-attention, cross-attention or a
feed-forward layer.
"""

import jax
from flax import nnx

from hybrid_jax.models.layers.transformer import dropout, layer_norm, linear
from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.specs import ViTSpec


class QueryAttention(nnx.Module):
    """Multi-head attention with separate inputs for queries, keys and values.

    The bias of the key projection never gets a gradient: it adds the same number to all
    logits of a query, which the softmax cancels. Published weights contain it.

    Args:
        spec: gives width, heads and dtype.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.query = linear(spec, spec.width, spec.width, rngs=rngs)
        self.key = linear(spec, spec.width, spec.width, rngs=rngs)
        self.value = linear(spec, spec.width, spec.width, rngs=rngs)
        self.out = linear(spec, spec.width, spec.width, rngs=rngs)
        self.num_heads = spec.num_heads

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        *,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (B, N, D), (B, M, D) and (B, M, D) to (B, N, D).

        Args:
            mask: False hides a key from a query, broadcastable to (B, heads, N, M).
        """
        query, key, value = self.query(query), self.key(key), self.value(value)
        split = [
            x.reshape(*x.shape[:2], self.num_heads, x.shape[-1] // self.num_heads)
            for x in (query, key, value)
        ]
        return self.out(attention(*split, mask=mask).reshape(query.shape))


class FeedForward(nnx.Module):
    """Linear layer, ReLU, dropout, linear layer.

    Args:
        spec: gives width, hidden width, dropout rate and dtype.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.fc1 = linear(spec, spec.width, spec.mlp_dim, rngs=rngs)
        self.fc2 = linear(spec, spec.mlp_dim, spec.width, rngs=rngs)
        self.dropout = spec.dropout

    def __call__(self, x: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Maps tokens (B, N, D) to (B, N, D)."""
        return self.fc2(dropout(jax.nn.relu(self.fc1(x)), rate=self.dropout, key=key))


class AddAndNorm(nnx.Module):
    """Dropout of a sublayer's output, residual sum and LayerNorm.

    Args:
        spec: gives width, epsilon, dropout rate and dtype.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.norm = layer_norm(spec, rngs=rngs)
        self.dropout = spec.dropout

    def __call__(self, x: jax.Array, y: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Maps the input x and the output y of a sublayer, (B, N, D), to (B, N, D)."""
        return self.norm(x + dropout(y, rate=self.dropout, key=key))
