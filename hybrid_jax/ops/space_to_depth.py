"""A convolution of an image with stride 2, as one of cells of 2x2 pixels without stride."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hybrid_jax.array_types import Array


def convolve(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k C C_out"], *, pads: tuple
) -> Float[Array, "B h w C_out"]:
    """Convolves with stride 2; the result is that of the plain convolution.

    Matrix units multiply 8 or 16 channels at a time, so that most of their work on the
    three channels of an image is on zeros. Here each 2x2 pixels are one cell of 12
    channels, and the kernel is padded to an even side and regrouped alike.

    Args:
        x: (B, H, W, C).
        kernel: (k, k, C, C_out), any k.
        pads: cells of zeros around the map: ((top, bottom), (left, right)).

    Returns:
        (B, h, w, C_out), h = (H + top + bottom - k) // 2 + 1.
    """
    B, H, W, C = x.shape
    side = kernel.shape[0]
    more = side % 2
    kernel = jnp.pad(kernel, ((0, more), (0, more), (0, 0), (0, 0)))
    half = (side + more) // 2
    # Cells of zeros at the end, for the longer kernel and for an even map.
    (top, bottom), (left, right) = pads
    h, w = (H + top + bottom - side) // 2 + 1, (W + left + right - side) // 2 + 1
    rows, columns = 2 * (h + half - 1), 2 * (w + half - 1)
    x = _fitted(x, axis=1, before=top, size=rows)
    x = _fitted(x, axis=2, before=left, size=columns)
    x = x.reshape(B, rows // 2, 2, columns // 2, 2, C)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(B, rows // 2, columns // 2, 4 * C)
    kernel = kernel.reshape(half, 2, half, 2, C, -1).transpose(0, 2, 1, 3, 4, 5)
    return jax.lax.conv_general_dilated(
        x,
        kernel.reshape(half, half, 4 * C, -1),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _fitted(x: jax.Array, *, axis: int, before: int, size: int) -> jax.Array:
    """Puts zeros before an axis and pads or cuts its end to a size."""
    pads = [(0, 0)] * x.ndim
    pads[axis] = (before, max(0, size - before - x.shape[axis]))
    return jax.lax.slice_in_dim(jnp.pad(x, pads), 0, size, axis=axis)
