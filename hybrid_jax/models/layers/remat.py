"""What a block keeps for its backward pass, and what is computed there once more."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from hybrid_jax.specs import REMAT


def run_block(
    run: Callable[..., jax.Array], block: nnx.Module, *arrays: Any, remat: str
) -> jax.Array:
    """Returns `run(block, *arrays)` with the backward pass that `remat` asks for.

    Args:
        run: a pure function but for the running statistics of `block`, which it may
            change; what else it reads must not be part of `block`.
        block: its state is handed through the recomputed part.
        arrays: pytrees of arrays or None.
        remat: "none" keeps what the gradient reads. "full" keeps the arrays alone and
            computes the block twice. "dots" keeps the products with kernels, which cost
            most, and computes the rest again: norms, activations, attention weights.

    Raises:
        ValueError: `remat` is none of `REMAT`.
    """
    if remat not in REMAT:
        raise ValueError(f"run_block: remat: expected one of {REMAT}, got {remat!r}.")
    if remat == "none":
        return run(block, *arrays)
    graph, params, rest = nnx.split(block, nnx.Param, ...)

    def apply(params, rest, *arrays):
        inner = nnx.merge(graph, params, rest)
        y = run(inner, *arrays)
        return y, nnx.state(inner, nnx.Not(nnx.Param))

    policy = _keeps_products if remat == "dots" else None
    y, rest = jax.checkpoint(apply, policy=policy)(params, rest, *arrays)
    nnx.update(block, rest)
    return y


def _keeps_products(primitive, *avals, **options) -> bool:
    """Keeps what kernels make of activations; products of activations have a batch axis."""
    products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    is_convolution = primitive is jax.lax.conv_general_dilated_p
    return is_convolution or products(primitive, *avals, **options)
