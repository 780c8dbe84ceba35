"""Scaled dot-product attention through the kernel that suits platform and shapes."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

from hybrid_jax.ops.attention import cudnn, stored_weights, tokamax_kernels
from hybrid_jax.ops.platform import platform

KERNELS = ("auto", "xla", "cudnn", "tokamax")

# Tokens. Not measured: half of the smallest tile of cuDNN's kernels, 64 x 64.
_SHORTEST = 32

_KERNEL: contextvars.ContextVar[str] = contextvars.ContextVar("kernel", default="auto")


@contextlib.contextmanager
def attention_kernel(name: str) -> Iterator[None]:
    """Makes `attention` use one of `KERNELS` inside the block; "auto" chooses by itself.

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


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, *, bias: jax.Array | None = None
) -> jax.Array:
    """Attends from every query to every key.

    A fused kernel takes only some shapes and dtypes. What it does not take goes through
    XLA, whatever `attention_kernel` says.

    Args:
        query: (B, N, heads, d) in the compute dtype.
        key: (B, M, heads, d).
        value: (B, M, heads, d).
        bias: added to the logits, broadcastable to (B, heads, N, M).

    Returns:
        (B, N, heads, d); the softmax runs in float32 whatever the dtype.
    """
    kernel = chosen_kernel(query, key, bias=bias)
    if kernel == "tokamax":
        return tokamax_kernels.attention(query, key, value)
    if kernel == "cudnn":
        return cudnn.attention(query, key, value, bias=bias)
    if platform() == "tpu":
        return stored_weights.attention(query, key, value, bias=bias)
    return jax.nn.dot_product_attention(query, key, value, bias, implementation="xla")


def chosen_kernel(
    query: jax.Array, key: jax.Array, *, bias: jax.Array | None = None
) -> str:
    """Returns "xla", "cudnn" or "tokamax": the kernel of one call of `attention`.

    "auto" is cuDNN where it applies: it never writes the (N, M) table of weights. A table
    with one short side is small, and padding that side would cost more than it saves. It is
    never tokamax, of which no figure on an accelerator is known.
    """
    kernel = _KERNEL.get()
    if kernel == "tokamax":
        return "tokamax" if tokamax_kernels.applies(query, bias=bias) else "xla"
    if kernel == "xla" or platform() != "gpu" or not cudnn.applies(query):
        return "xla"
    long = min(query.shape[1], key.shape[1]) >= _SHORTEST
    return "cudnn" if long or kernel == "cudnn" else "xla"
