"""The matrix product of 1x1 convolutions, with a faster gradient on CPU."""

import jax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from hybrid_jax.array_types import Array
from hybrid_jax.ops.platform import platform


def matmul(
    x: Float[Array, "*cells C_in"], kernel: Float[Array, "C_in C_out"]
) -> Float[Array, "*cells C_out"]:
    """Multiplies every cell of (B, h, w, C_in) by a (C_in, C_out) kernel.

    It can be differentiated forwards and backwards, any number of times.
    """
    if platform() == "cpu":
        return _matmul_cpu(x, kernel)
    return x @ kernel


@jax.custom_jvp
def _matmul_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _derivative(primals, tangents):
    """Returns the product and its tangent; the barrier materializes the gradient once.

    Without it, XLA's CPU backend fuses the producer of the gradient (the backward pass of a
    GroupNorm) into both products and writes one of the copies transposed, cell by cell.
    The barrier is after the sum, so that in the backward pass it comes before both.
    """
    x, kernel = primals
    dx, dkernel = tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(dx @ kernel)
    if not isinstance(dkernel, SymbolicZero):
        # In two dimensions, the backward product needs no transposed copy.
        rows = x.reshape(-1, x.shape[-1]) @ dkernel
        terms.append(rows.reshape(*x.shape[:-1], -1))
    # Not the function itself: a checkpoint's policy looks for the product.
    return x @ kernel, jax.lax.optimization_barrier(sum(terms))


_matmul_cpu.defjvp(_derivative, symbolic_zeros=True)
