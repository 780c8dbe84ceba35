"""Scaled dot-product attention through the fastest kernel the hardware has."""

import jax
import jax.numpy as jnp


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, *, bias: jax.Array | None = None
) -> jax.Array:
    """Attends from every query to every key.

    Args:
        query: (B, N, heads, d) in the compute dtype.
        key: (B, M, heads, d).
        value: (B, M, heads, d).
        bias: added to the logits, broadcastable to (B, heads, N, M).

    Returns:
        (B, N, heads, d); the softmax runs in float32 whatever the dtype.
    """
    return jax.nn.dot_product_attention(
        query, key, value, bias, implementation=_implementation(query, key, bias)
    )


def _implementation(query, key, bias) -> str:
    """cuDNN's fused kernel where it applies; asking for it elsewhere is an error.

    Its conditions (jax/_src/cudnn, 2026): 16-bit floats, head width a multiple of 8 and at
    most 128, and even lengths when there is a bias and a backward pass.
    """
    head_dim = query.shape[-1]
    fits = head_dim % 8 == 0 and head_dim <= 128
    even = query.shape[1] % 2 == 0 and key.shape[1] % 2 == 0
    sixteen_bit = query.dtype in (jnp.bfloat16, jnp.float16)
    if sixteen_bit and fits and (bias is None or even) and _has_flash_attention():
        return "cudnn"
    return "xla"


def _has_flash_attention() -> bool:
    """cuDNN's needs an NVIDIA GPU of the Ampere generation (8.0) or later."""
    if jax.default_backend() != "gpu":
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "")
    # AMD's answer is a name such as gfx90a.
    return capability.replace(".", "").isdigit() and float(capability) >= 8.0
