"""Consecutive transformer blocks as one loop, compiled once for all of them.

The blocks keep their own parameters, so that files, states and rules of sharding know
nothing of the loop. Those are stacked where it begins, and gradients come apart behind it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.models.layers.compute_dtype import cast_dtypes
from hybrid_jax.models.layers.transformer import Block


def scan_blocks(
    run: Callable[[Block, jax.Array, jax.Array, jax.Array | None], jax.Array],
    blocks: Sequence[Block],
    tokens: jax.Array,
    *,
    first: int,
) -> jax.Array:
    """Applies blocks that differ in their arrays and drop path rates only.

    Args:
        run: maps a block, its number (), tokens and its drop path rate () to tokens. The
            rate is None where no block drops anything.
        blocks: at least one.
        tokens: (B, N, D); shape and dtype stay.
        first: number of the first block.
    """
    graph = nnx.graphdef(blocks[0])
    dtypes = cast_dtypes(blocks[0])

    def stack(path, *leaves):
        # Cast before they are stacked, kernels take half the memory in bfloat16.
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        dtype = dtypes.get(name, leaves[0].dtype)
        return jnp.stack([leaf.astype(dtype) for leaf in leaves])

    states = [nnx.to_pure_dict(nnx.state(block)) for block in blocks]
    stacked = jax.tree_util.tree_map_with_path(stack, *states)
    rates = np.array([block.drop_path for block in blocks], np.float32)
    numbers = np.arange(first, first + len(blocks))

    def body(tokens: jax.Array, of_block: Any) -> tuple[jax.Array, None]:
        number, rate, state = of_block
        return run(nnx.merge(graph, state), number, tokens, rate), None

    rates = jnp.asarray(rates) if rates.any() else None
    return jax.lax.scan(body, tokens, (numbers, rates, stacked))[0]
