"""Attention from one set of tokens to another, of any two widths."""

import jax
from flax import nnx

from hybrid_jax.models.layers.transformer import linear
from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.specs import ViTSpec

_zeros = nnx.initializers.zeros_init()


class CrossAttention(nnx.Module):
    """Queries of one width attend to a context of another.

    The key has no bias: adding one vector to all keys moves every logit of a query alike,
    and the softmax undoes it.

    Args:
        spec: gives the heads' dtype and initialization.
        dim: width of the queries and of the result.
        context_dim: width of the context.
        heads: must divide `dim`.
        silent: the last projection starts at zero, and with it the result.
    """

    def __init__(
        self,
        spec: ViTSpec,
        dim: int,
        context_dim: int,
        *,
        heads: int,
        rngs: nnx.Rngs,
        silent: bool = False,
    ):
        self.query = linear(spec, dim, dim, rngs=rngs)
        self.key = linear(spec, context_dim, dim, rngs=rngs, use_bias=False)
        self.value = linear(spec, context_dim, dim, rngs=rngs)
        options = dict(kernel_init=_zeros) if silent else {}
        self.out = linear(spec, dim, dim, rngs=rngs, **options)
        self.heads = heads

    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """Maps (B, N, dim) and (B, M, context_dim) to (B, N, dim)."""
        B, N, D = x.shape
        query = self.query(x).reshape(B, N, self.heads, -1)
        key = self.key(context).reshape(B, context.shape[1], self.heads, -1)
        value = self.value(context).reshape(B, context.shape[1], self.heads, -1)
        return self.out(attention(query, key, value).reshape(B, N, D))
