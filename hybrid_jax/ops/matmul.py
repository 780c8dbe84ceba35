"""The product behind 1x1 convolutions, in the form that suits the backend."""

import jax
from jax.custom_derivatives import SymbolicZero

from hybrid_jax.ops.platform import platform


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
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
    """Has a backward pass that computes the incoming gradient once, in its own layout.

    Without the barrier XLA's CPU backend fuses what produces it (a GroupNorm's backward)
    into each of the two products and writes one of the copies transposed, cell by cell.
    The barrier stands behind the sum, so that on the way back it stands before both.
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
