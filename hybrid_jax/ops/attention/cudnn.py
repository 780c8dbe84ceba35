"""Attention through cuDNN's fused kernel, for any lengths and biases.

In training, the kernel (jax/_src/cudnn/fused_attention_stablehlo.py, jax 0.10 to 0.12)
supports even lengths only, and a bias of the full shape only. So lengths are padded here
where a gradient is asked for, and padded keys are masked by `key_value_seq_lengths`.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from hybrid_jax.array_types import AnyQueries, AttentionBias, Keys, Queries

_MULTIPLE = 8  # tokens; aligns rows of 16-bit attention weights to 16 bytes
_WIDEST_HEAD = 128  # on every generation that has the kernel


def applies(query: AnyQueries) -> bool:
    """Whether the kernel supports queries (B, N, heads, d) on the first device."""
    head_dim = query.shape[-1]
    fits = head_dim % 8 == 0 and head_dim <= _WIDEST_HEAD
    sixteen_bit = query.dtype in (jnp.bfloat16, jnp.float16)
    return sixteen_bit and fits and has_flash_attention()


def has_flash_attention() -> bool:
    """Whether the first device is an NVIDIA GPU of the Ampere generation (8.0) or later."""
    capability = getattr(jax.local_devices()[0], "compute_capability", "")
    # On AMD GPUs it is a name such as gfx90a; other devices have none.
    return capability.replace(".", "").isdigit() and float(capability) >= 8.0


def attention(
    query: Queries,
    key: Keys,
    value: Keys,
    *,
    bias: AttentionBias | None,
    implementation: Literal["xla", "cudnn"] = "cudnn",
) -> Queries:
    """Returns the attention of every query to every key; arguments as in `dot_product`.

    Args:
        implementation: of `jax.nn.dot_product_attention`. "xla" computes the same from
            the same padded arrays on any device.
    """
    if bias is not None:
        # The kernel broadcasts over examples and heads, but not over lengths.
        shape = (*bias.shape[:2], query.shape[1], key.shape[1])
        bias = jnp.broadcast_to(bias.astype(query.dtype), shape)
    return _attention(implementation, query, key, value, bias)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(implementation, query, key, value, bias):
    """Without a gradient: as it is. Padding would copy queries, keys and values."""
    return jax.nn.dot_product_attention(
        query, key, value, bias, implementation=implementation
    )


def _forward(implementation, *arrays):
    return jax.vjp(functools.partial(_padded, implementation), *arrays)


def _backward(implementation, pull, g):
    return pull(g)


_attention.defvjp(_forward, _backward)


def _padded(implementation, query, key, value, bias):
    """As `_attention`, with lengths that the kernel supports in training."""
    B, N = query.shape[:2]
    M = key.shape[1]
    more_queries, more_keys = -N % _MULTIPLE, -M % _MULTIPLE
    if bias is not None:
        bias = jnp.pad(bias, ((0, 0), (0, 0), (0, more_queries), (0, more_keys)))
    lengths = jnp.full(B, M, jnp.int32) if more_keys else None
    out = jax.nn.dot_product_attention(
        _longer(query, more_queries),
        _longer(key, more_keys),
        _longer(value, more_keys),
        bias,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
    return out[:, :N]


def _longer(x: jax.Array, tokens: int) -> jax.Array:
    """Appends tokens of zeros to (B, N, heads, d)."""
    return jnp.pad(x, ((0, 0), (0, tokens), (0, 0), (0, 0))) if tokens else x
