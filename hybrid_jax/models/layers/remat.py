"""Rematerialization of a block: what is stored and what is recomputed in backward."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from hybrid_jax.specs import REMAT


def run_block(
    run: Callable[..., jax.Array],
    block: nnx.Module,
    *arrays: Any,
    remat: str,
    block_loop: str = "unrolled",
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
        block_loop: "scan" inside the body of one. XLA recomputes what is cheap unasked, but
            not in a loop, which hands every array that its gradient reads through memory.
            There, "none" stores products and fused kernels, and recomputes all else.

    Raises:
        ValueError: `remat` is none of `REMAT`.
    """
    if remat not in REMAT:
        raise ValueError(f"run_block: remat: expected one of {REMAT}, got {remat!r}.")
    in_scan = block_loop == "scan"
    if remat == "none" and not in_scan:
        return run(block, *arrays)
    graph, params, rest = nnx.split(block, nnx.Param, ...)

    def apply(params, rest, *arrays):
        inner = nnx.merge(graph, params, rest)
        y = run(inner, *arrays)
        return y, nnx.state(inner, nnx.Not(nnx.Param))

    # Without a loop, the compiler would find the recomputed to be what it has already.
    recomputed = jax.checkpoint(apply, policy=_POLICIES[remat], prevent_cse=not in_scan)
    y, rest = recomputed(params, rest, *arrays)
    nnx.update(block, rest)
    return y


def _keeps_products(primitive, *avals, **options) -> bool:
    """Saves products with kernels only; products of two activations have a batch axis."""
    products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    is_convolution = primitive is jax.lax.conv_general_dilated_p
    return is_convolution or products(primitive, *avals, **options)


def _keeps_what_is_costly(primitive, *_, **__) -> bool:
    """Saves all products, also those of two activations, and attention's fused kernels."""
    return primitive.name.startswith(
        ("dot_general", "conv_general_dilated", "dot_product_attention", "pallas_call")
    )


_POLICIES = dict(none=_keeps_what_is_costly, dots=_keeps_products, full=None)
