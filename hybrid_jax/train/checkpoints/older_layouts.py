"""Shapes that arrays of a state had in checkpoints of earlier versions.

The joint projection of attention was a kernel (D, 3 D) with a bias (3 D,). It is (D, 3, D)
with (3, D): the same numbers in the same order.
"""

import re
from typing import Any

import jax

from hybrid_jax.train.state import path_name

_QKV = re.compile(r"attn/qkv/(kernel|bias)$")


def older_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape an array had before, or `shape` if it never had another."""
    if _QKV.search(path) and len(shape) >= 2:
        return (*shape[:-2], shape[-2] * shape[-1])
    return shape


def as_saved(target: Any, saved: dict[str, tuple[int, ...]]) -> Any:
    """Returns what to ask a checkpoint for: shapes as saved, where they are older.

    Args:
        target: tree of `ShapeDtypeStruct` with shardings.
        saved: shapes of the checkpoint's arrays by path.
    """

    def asked(path, leaf):
        name = path_name(path)
        if saved.get(name) == leaf.shape or saved.get(name) != older_shape(
            name, leaf.shape
        ):
            return leaf
        whole = jax.sharding.NamedSharding(leaf.sharding.mesh, jax.sharding.PartitionSpec())
        return jax.ShapeDtypeStruct(saved[name], leaf.dtype, sharding=whole)

    return jax.tree_util.tree_map_with_path(asked, target)


def brought_up(state: Any, target: Any) -> Any:
    """Gives every loaded array the shape and the sharding of `target`."""

    def shaped(leaf, wanted):
        if leaf.shape == wanted.shape:
            return leaf
        reshape = jax.jit(lambda x: x.reshape(wanted.shape), out_shardings=wanted.sharding)
        return reshape(leaf)

    return jax.tree.map(shaped, state, target)
