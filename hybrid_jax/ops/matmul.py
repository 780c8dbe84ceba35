"""The product behind 1x1 convolutions, in the form that suits the backend."""

import jax

from hybrid_jax.ops.platform import platform


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies every cell of (B, h, w, C_in) by a (C_in, C_out) kernel."""
    if platform() == "cpu":
        return _matmul_cpu(x, kernel)
    if platform() == "tpu":
        return _matmul_tpu(x, kernel)
    return x @ kernel


def _matmul_tpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same product as a convolution.

    The TPU compiler lays a map out by images and channels, because a norm's sums need no
    cells side by side. It flattens the cells of a product and copies maps to and from that
    order; a convolution takes them as they lie, and the norm becomes part of it.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel[None, None],
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@jax.custom_vjp
def _matmul_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _forward(x, kernel):
    return x @ kernel, (x, kernel)


def _backward(residuals, g):
    """Computes the incoming gradient once, in its own layout.

    Without the barrier XLA's CPU backend fuses what produces it (a GroupNorm's backward)
    into each of the two products and writes one of the copies transposed, cell by cell.
    """
    x, kernel = residuals
    g = jax.lax.optimization_barrier(g)
    rows, columns = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return g @ kernel.T, rows.T @ columns


_matmul_cpu.defvjp(_forward, _backward)
