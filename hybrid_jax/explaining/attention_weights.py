"""Attention with its weights written out, as the fused kernels compute it."""

import jax
import jax.numpy as jnp


def attention_weights(
    query: jax.Array, key: jax.Array, *, bias: jax.Array | None = None
) -> jax.Array:
    """Returns the weights of every query over all keys, (B, heads, N, M) float32.

    Args:
        query: (B, N, heads, d).
        key: (B, M, heads, d).
        bias: added to the logits, broadcastable to (B, heads, N, M).
    """
    logits = jnp.einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=jnp.float32)
    logits = logits * query.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    return jax.nn.softmax(logits, axis=-1)


def weighted_sum(weights: jax.Array, value: jax.Array) -> jax.Array:
    """Returns the output of attention, (B, N, heads, d) in the dtype of the values.

    Args:
        weights: (B, heads, N, M) float32, rounded to the dtype of the values first.
        value: (B, M, heads, d).
    """
    return jnp.einsum("bhnm,bmhd->bnhd", weights.astype(value.dtype), value)
