"""The matrix product of linear layers, with a faster gradient on CPU."""

from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from hybrid_jax.array_types import Array
from hybrid_jax.ops.platform import platform


def matmul(
    x: Float[Array, "*cells C_in"], kernel: Float[Array, "C_in C_out"]
) -> Float[Array, "*cells C_out"]:
    """Multiplies every cell, or every token, of (..., C_in) by a (C_in, C_out) kernel.

    It can be differentiated forwards and backwards, any number of times.
    """
    if platform() == "cpu":
        return _matmul_cpu(x, kernel)
    return x @ kernel


def dot_general(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
) -> jax.Array:
    """`matmul` in the form that `nnx.Linear` takes as its `dot_general`.

    Off CPUs, for other axes and with options such as a precision, it is that of JAX.
    """
    of_rows = dimension_numbers == (((x.ndim - 1,), (0,)), ((), ()))
    plain = all(option is None for option in options.values())
    if platform() == "cpu" and of_rows and plain:
        return matmul(x, kernel)
    return jax.lax.dot_general(x, kernel, dimension_numbers, **options)


@jax.custom_jvp
def _matmul_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _derivative(primals, tangents):
    """Returns the product and its tangent; the barrier materializes the gradient once.

    Without it, XLA's CPU backend fuses the producer of the gradient (the backward pass of a
    normalization or a GELU) into both products and writes one of the copies transposed,
    cell by cell. The barrier is after the sum, so that in the backward pass it comes before
    both.
    """
    x, kernel = primals
    dx, dkernel = tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(dx @ kernel)
    if not isinstance(dkernel, SymbolicZero):
        # In two dimensions, the backward product needs no transposed copy.
        rows = x.reshape(-1, x.shape[-1]) @ dkernel
        terms.append(rows.reshape(*x.shape[:-1], rows.shape[-1]))
    # Not the function itself: a checkpoint's policy looks for the product.
    return x @ kernel, jax.lax.optimization_barrier(sum(terms))


_matmul_cpu.defjvp(_derivative, symbolic_zeros=True)
