"""The matrix product of 1x1 convolutions, with a faster gradient on CPU."""

import jax

from hybrid_jax.ops.platform import platform


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies every cell of (B, h, w, C_in) by a (C_in, C_out) kernel."""
    if platform() == "cpu":
        return _matmul_cpu(x, kernel)
    return x @ kernel


@jax.custom_vjp
def _matmul_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _forward(x, kernel):
    return x @ kernel, (x, kernel)


def _backward(residuals, g):
    """Returns both gradients; the barrier materializes `g` once.

    Without it, XLA's CPU backend fuses the producer of `g` (the backward pass of a
    GroupNorm) into both products and writes one of the copies transposed, cell by cell.
    """
    x, kernel = residuals
    g = jax.lax.optimization_barrier(g)
    rows, columns = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return g @ kernel.T, rows.T @ columns


_matmul_cpu.defvjp(_forward, _backward)
