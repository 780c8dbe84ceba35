"""Attention that keeps its weights for the backward pass in the compute dtype.

The automatic gradient of a softmax in float32 keeps the (N, M) table of logits or weights
in float32 and reads it again. Here one table in the compute dtype is all that is kept:
under bfloat16 half the bytes. The gradient is computed by hand from it, sums in float32.
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def _attention(query, key, value, bias):
    return _forward(query, key, value, bias)[0]


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, *, bias: jax.Array | None
) -> jax.Array:
    """Attends from every query to every key; arguments as of `ops.attention.attention`."""
    return _attention(query, key, value, bias)


def _forward(query, key, value, bias):
    logits = jnp.einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=jnp.float32)
    logits = logits * query.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    weights = jax.nn.softmax(logits, axis=-1).astype(query.dtype)
    out = jnp.einsum("bhnm,bmhd->bnhd", weights, value)
    return out, (query, key, value, bias, weights)


def _backward(residuals, g):
    query, key, value, bias, weights = residuals
    dtype = query.dtype
    grad_value = jnp.einsum("bhnm,bnhd->bmhd", weights, g)
    grad_weights = jnp.einsum(
        "bnhd,bmhd->bhnm", g, value, preferred_element_type=jnp.float32
    )
    exact = weights.astype(jnp.float32)
    inner = jnp.sum(grad_weights * exact, axis=-1, keepdims=True)
    grad_logits = exact * (grad_weights - inner)
    grad_bias = None if bias is None else _summed_to(grad_logits, bias)
    scaled = (grad_logits * query.shape[-1] ** -0.5).astype(dtype)
    grad_query = jnp.einsum("bhnm,bmhd->bnhd", scaled, key)
    grad_key = jnp.einsum("bhnm,bnhd->bmhd", scaled, query)
    return grad_query, grad_key, grad_value, grad_bias


def _summed_to(grad: jax.Array, bias: jax.Array) -> jax.Array:
    """Sums the gradient of the logits over the axes along which the bias was repeated."""
    axes = [axis for axis in range(4) if bias.shape[axis] == 1 != grad.shape[axis]]
    return jnp.sum(grad, axis=axes, keepdims=True).astype(bias.dtype)


_attention.defvjp(_forward, _backward)
