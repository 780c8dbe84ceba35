"""The steps of a post-norm transformer (Vaswani et al., 2017), as DETR puts them together.

x = LayerNorm(x + step(x)), where a step is attention, to itself or to a context, or a
feed-forward layer.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.layers.transformer import drop, layer_norm, linear
from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.specs import ViTSpec

# Added to logits of what may not be seen: e to it is zero, and sixteen bits can hold it.
_UNSEEN = -3e4


def unseen_bias(seen: jax.Array) -> jax.Array:
    """Returns the bias of attention that hides what is False, float32 of the same shape."""
    return jnp.where(seen, 0.0, _UNSEEN)


class QueryAttention(nnx.Module):
    """Multi-head attention whose queries, keys and values come from three places.

    The key's bias never gets a gradient: it moves all logits of a query alike, and the
    softmax undoes it. It is there because published weights have it.

    Args:
        spec: gives width, heads and dtype.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.query = linear(spec, spec.width, spec.width, rngs=rngs)
        self.key = linear(spec, spec.width, spec.width, rngs=rngs)
        self.value = linear(spec, spec.width, spec.width, rngs=rngs)
        self.out = linear(spec, spec.width, spec.width, rngs=rngs)
        self.heads = spec.heads

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        *,
        bias: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (B, N, D), (B, M, D) and (B, M, D) to (B, N, D).

        Args:
            bias: added to the logits, broadcastable to (B, heads, N, M).
        """
        query, key, value = self.query(query), self.key(key), self.value(value)
        split = [
            x.reshape(*x.shape[:2], self.heads, x.shape[-1] // self.heads)
            for x in (query, key, value)
        ]
        bias = None if bias is None else bias.astype(query.dtype)
        return self.out(attention(*split, bias=bias).reshape(query.shape))


class FeedForward(nnx.Module):
    """Two linear maps with a ReLU and a dropout between.

    Args:
        spec: gives width, hidden width, dropout rate and dtype.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.fc1 = linear(spec, spec.width, spec.mlp_dim, rngs=rngs)
        self.fc2 = linear(spec, spec.mlp_dim, spec.width, rngs=rngs)
        self.dropout = spec.dropout

    def __call__(self, x: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Maps tokens (B, N, D) to (B, N, D)."""
        return self.fc2(drop(jax.nn.relu(self.fc1(x)), rate=self.dropout, key=key))


class AddAndNorm(nnx.Module):
    """The end of a step: its result is dropped at times, added, and the sum normed.

    Args:
        spec: gives width, epsilon, dropout rate and dtype.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.norm = layer_norm(spec, rngs=rngs)
        self.dropout = spec.dropout

    def __call__(self, x: jax.Array, y: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Maps the stream and a step's result (B, N, D) to the stream."""
        return self.norm(x + drop(y, rate=self.dropout, key=key))
