"""Attention that writes logits and weights, (N, M) per head, in the compute dtype.

Matrix products of a TPU accumulate in float32. The unfused attention of JAX writes the
logits and stores the weights in float32, and is bound by this memory traffic. Here both are
rounded to the compute dtype, as in the attention of Flax, and only the weights are stored
for the backward pass. Softmax and sums run in float32.
"""

import jax
import jax.numpy as jnp

from hybrid_jax.array_types import AttentionBias, Keys, Queries


@jax.custom_vjp
def _attention(query, key, value, bias):
    return _forward(query, key, value, bias)[0]


def attention(
    query: Queries, key: Keys, value: Keys, *, bias: AttentionBias | None
) -> Queries:
    """Returns the attention of every query to every key; arguments as in `dot_product`."""
    return _attention(query, key, value, bias)


def _forward(query, key, value, bias):
    logits = jnp.einsum("bnhd,bmhd->bhnm", _scaled(query), key)
    logits = logits.astype(jnp.float32)
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    weights = jax.nn.softmax(logits, axis=-1).astype(query.dtype)
    out = jnp.einsum("bhnm,bmhd->bnhd", weights, value)
    return out, (query, key, value, bias, weights)


def _backward(residuals, g):
    query, key, value, bias, weights = residuals
    grad_value = jnp.einsum("bhnm,bnhd->bmhd", weights, g)
    grad_weights = jnp.einsum("bnhd,bmhd->bhnm", g, value).astype(jnp.float32)
    exact = weights.astype(jnp.float32)
    inner = jnp.sum(grad_weights * exact, axis=-1, keepdims=True)
    grad_logits = exact * (grad_weights - inner)
    grad_bias = None if bias is None else _summed_to(grad_logits, bias)
    grad_logits = grad_logits.astype(query.dtype)
    grad_query = _scaled(jnp.einsum("bhnm,bmhd->bnhd", grad_logits, key))
    grad_key = jnp.einsum("bhnm,bnhd->bmhd", grad_logits, _scaled(query))
    return grad_query, grad_key, grad_value, grad_bias


def _scaled(query: jax.Array) -> jax.Array:
    return query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)


def _summed_to(grad: jax.Array, bias: jax.Array) -> jax.Array:
    """Sums the gradient of the logits over the axes along which the bias is broadcast."""
    axes = [axis for axis in range(4) if bias.shape[axis] == 1 != grad.shape[axis]]
    return jnp.sum(grad, axis=axes, keepdims=True).astype(bias.dtype)


_attention.defvjp(_forward, _backward)
