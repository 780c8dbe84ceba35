"""The order of an array's axes in the memory of a GPU."""

import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Float

from hybrid_jax.array_types import Array
from hybrid_jax.ops.platform import platform


def row_major(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """Returns `x`, which XLA keeps in row-major order on GPUs where it is differentiated.

    XLA chooses the order of every array that no kernel demands in one order. Without this,
    one sum over a batch (the gradient of the positions) makes it choose the batch as the
    fastest axis for all tokens between the blocks of a ViT; each block then transposes
    them several times (a tenth of a training step of r26_vit_b16 on an H100). Other
    platforms have no such choice, or make it well, and so does inference, which stays free
    of the constraint because `jax.export` refuses it.
    """
    return _constrained(x) if platform() == "gpu" else x


@jax.custom_jvp
def _constrained(x: jax.Array) -> jax.Array:
    return x


@_constrained.defjvp
def _derivative(primals, tangents):
    (x,), (tangent,) = primals, tangents
    order = Layout(tuple(range(x.ndim)))
    return with_layout_constraint(x, order), with_layout_constraint(tangent, order)
