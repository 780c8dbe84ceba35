"""Cross-attention between tokens of different widths."""

import jax
from flax import nnx

from hybrid_jax.models.layers.transformer import linear
from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.specs import ViTSpec

_zeros = nnx.initializers.zeros_init()


class CrossAttention(nnx.Module):
    """Multi-head attention from queries to a context of another width.

    The key projection has no bias: it would add the same number to all logits of a query,
    which the softmax cancels.

    Args:
        spec: gives dtype and initialization.
        dim: width of the queries and of the output.
        context_dim: width of the context.
        num_heads: attention heads; must divide `dim`.
        zero_init: the output projection, and with it the output, starts at zero.
    """

    def __init__(
        self,
        spec: ViTSpec,
        dim: int,
        context_dim: int,
        *,
        num_heads: int,
        rngs: nnx.Rngs,
        zero_init: bool = False,
    ):
        self.query = linear(spec, dim, dim, rngs=rngs)
        self.key = linear(spec, context_dim, dim, rngs=rngs, use_bias=False)
        self.value = linear(spec, context_dim, dim, rngs=rngs)
        options = dict(kernel_init=_zeros) if zero_init else {}
        self.out = linear(spec, dim, dim, rngs=rngs, **options)
        self.num_heads = num_heads

    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """Maps (B, N, dim) and (B, M, context_dim) to (B, N, dim)."""
        B, N, D = x.shape
        query = self.query(x).reshape(B, N, self.num_heads, -1)
        key = self.key(context).reshape(B, context.shape[1], self.num_heads, -1)
        value = self.value(context).reshape(B, context.shape[1], self.num_heads, -1)
        return self.out(attention(query, key, value).reshape(B, N, D))
