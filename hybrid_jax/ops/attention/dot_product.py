"""Scaled dot-product attention, with the kernel chosen by platform and shapes."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from hybrid_jax.array_types import (
    AnyBias,
    AnyKeys,
    AnyQueries,
    AttentionBias,
    AttentionMask,
    Keys,
    Queries,
)
from hybrid_jax.ops.attention import (
    cudnn,
    heads_first,
    stored_weights,
    tokamax_kernels,
)
from hybrid_jax.ops.platform import platform

KERNELS = ("auto", "xla", "cudnn", "tokamax")

# Tokens. Half of the smallest tile (64 x 64) of cuDNN's kernels; not measured.
_SHORTEST = 32
# Added to the logits of hidden keys: its exponential is zero, and float16 can hold it.
_HIDDEN = -3e4

_KERNEL: contextvars.ContextVar[str] = contextvars.ContextVar("kernel", default="auto")
_STAND_IN: contextvars.ContextVar[Callable[..., jax.Array] | None] = contextvars.ContextVar(
    "stand_in", default=None
)


@contextlib.contextmanager
def attention_kernel(name: str) -> Iterator[None]:
    """Context manager that sets the kernel of `attention` to one of `KERNELS`.

    Raises:
        ValueError: not one of `KERNELS`.
    """
    if name not in KERNELS:
        raise ValueError(f"attention_kernel: expected one of {KERNELS}, got {name!r}.")
    token = _KERNEL.set(name)
    try:
        yield
    finally:
        _KERNEL.reset(token)


@contextlib.contextmanager
def attention_by(stand_in: Callable[..., jax.Array]) -> Iterator[None]:
    """Context manager in which `attention` is `stand_in(query, key, value, bias=)`.

    No kernel gives the attention weights away; what is to see them computes them itself.
    """
    token = _STAND_IN.set(stand_in)
    try:
        yield
    finally:
        _STAND_IN.reset(token)


def attention(
    query: Queries,
    key: Keys,
    value: Keys,
    *,
    bias: AttentionBias | None = None,
    mask: AttentionMask | None = None,
) -> Queries:
    """Returns the attention of every query to every key.

    Shapes and dtypes that the fused kernel does not support use XLA, whatever
    `attention_kernel` says.

    Args:
        query: (B, N, heads, d) in the compute dtype.
        key: (B, M, heads, d).
        value: (B, M, heads, d).
        bias: added to the logits, broadcastable to (B, heads, N, M).
        mask: False hides a key from a query, broadcastable to the same shape. A query
            from which all keys are hidden attends to all of them.

    Returns:
        (B, N, heads, d); the softmax runs in float32 for any dtype.
    """
    if mask is not None:
        bias = _with_hidden(bias, mask, dtype=query.dtype)
    if (stand_in := _STAND_IN.get()) is not None:
        return stand_in(query, key, value, bias=bias)
    kernel = chosen_kernel(query, key, bias=bias)
    if kernel == "tokamax":
        return tokamax_kernels.attention(query, key, value)
    if kernel == "cudnn":
        return cudnn.attention(query, key, value, bias=bias)
    if platform() == "tpu":
        return stored_weights.attention(query, key, value, bias=bias)
    if platform() == "cpu":
        return heads_first.attention(query, key, value, bias=bias)
    return jax.nn.dot_product_attention(query, key, value, bias, implementation="xla")


def _with_hidden(bias, mask, *, dtype) -> jax.Array:
    """Returns the bias that also hides keys: not every kernel takes a mask of its own."""
    hidden = jnp.where(mask, 0.0, _HIDDEN).astype(dtype)
    return hidden if bias is None else bias + hidden


def chosen_kernel(query: AnyQueries, key: AnyKeys, *, bias: AnyBias | None = None) -> str:
    """Returns "xla", "cudnn" or "tokamax": the kernel that a call of `attention` uses.

    "auto" uses cuDNN where it is supported, because it does not write the (N, M) attention
    weights to memory. For fewer than 32 queries or keys it uses XLA: the weights are small
    and padding would cost more. It never uses tokamax, whose speed was not measured.
    """
    kernel = _KERNEL.get()
    if kernel == "tokamax":
        return "tokamax" if tokamax_kernels.applies(query, bias=bias) else "xla"
    if kernel == "xla" or platform() != "gpu" or not cudnn.applies(query):
        return "xla"
    long = min(query.shape[1], key.shape[1]) >= _SHORTEST
    return "cudnn" if long or kernel == "cudnn" else "xla"
