"""Rematerialization of a block: what is stored and what is recomputed in backward."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from hybrid_jax.specs import REMAT


def run_block(
    run: Callable[..., jax.Array], block: nnx.Module, *arrays: Any, remat: str
) -> jax.Array:
    """Returns `run(block, *arrays)`, rematerialized in the backward pass as `remat` says.

    Args:
        run: a pure function, except that it may update the running statistics of `block`.
            Other modules must not be parts of `block`.
        block: the module; its state is passed through the recomputed function.
        arrays: pytrees of arrays or None.
        remat: "none" stores all residuals. "full" stores only the arguments and computes
            the block twice. "dots" stores the products with kernels, which cost most, and
            recomputes norms, activations and attention weights.

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
    """Saves products with kernels only; products of two activations have a batch axis."""
    products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    is_convolution = primitive is jax.lax.conv_general_dilated_p
    return is_convolution or products(primitive, *avals, **options)
