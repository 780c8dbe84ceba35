"""Relative positions on a grid: learned tables over offsets, as attention logits.

A table for a side of n cells has 2n - 1 entries; entry o + n - 1 is that of the offset
o = key - query, from -(n - 1) to n - 1. Cells of an (h, w) grid are in row-major order.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hybrid_jax.array_types import Array
from hybrid_jax.ops.bilinear import linear_weights


def resize_offsets(
    table: Float[Array, "..."], side: int, *, axis: int
) -> Float[Array, "..."]:
    """Interpolates a table of offsets linearly to a side of `side` cells.

    The largest offsets and offset zero keep their entries, so that a finer grid covers the
    same distances in more steps.

    Args:
        table: 2n - 1 entries along `axis`.

    Returns:
        2 * side - 1 entries along `axis`, in the dtype of `table`.
    """
    entries = table.shape[axis]
    if entries == 2 * side - 1:
        return table
    reach = (entries - 1) / 2
    at = reach + np.arange(1 - side, side) * (reach / max(side - 1, 1))
    weights = linear_weights(at, entries)
    # High precision: on TPU a plain float32 product would round to bfloat16.
    resized = jnp.tensordot(
        jnp.asarray(weights, table.dtype), table, (1, axis), precision="highest"
    )
    return jnp.moveaxis(resized, 0, axis)


def by_pair(table: Float[Array, "..."], *, axis: int) -> Float[Array, "..."]:
    """Expands a table of 2n - 1 offsets to n queries by n keys.

    Entry (i, k) is the table's entry of offset k - i. This needs no gather (whose gradient
    is a scatter): n copies of the table, each padded by one cell, are concatenated and
    reshaped to rows one cell shorter, so that every row starts one offset earlier.

    Returns:
        The table with `axis` replaced by two axes of length n.
    """
    table = jnp.moveaxis(table, axis, 0)
    entries, rest = table.shape[0], table.shape[1:]
    n = (entries + 1) // 2
    padded = jnp.concatenate([table, jnp.zeros_like(table[:1])])
    copies = jnp.broadcast_to(padded, (n, *padded.shape)).reshape(n * 2 * n, *rest)
    pairs = copies[: n * entries].reshape(n, entries, *rest)[:, n - 1 :]
    return jnp.moveaxis(pairs, (0, 1), (axis, axis + 1))


def relative_bias(
    table: Float[Array, "heads rows columns"], hw: tuple[int, int], *, prefix: int
) -> Float[Array, "1 heads N N"]:
    """Returns the relative position bias of an (h, w) grid (CoAtNet, Dai et al., 2021).

    Args:
        table: (heads, 2h' - 1, 2w' - 1); it is resized to (h, w).
        prefix: number of tokens before the grid's; their bias is zero.

    Returns:
        (1, heads, prefix + h * w, prefix + h * w), queries before keys.
    """
    h, w = hw
    table = resize_offsets(resize_offsets(table, h, axis=1), w, axis=2)
    pairs = by_pair(by_pair(table, axis=1), axis=3)  # (heads, h, h, w, w)
    bias = pairs.transpose(0, 1, 3, 2, 4).reshape(1, -1, h * w, h * w)
    return jnp.pad(bias, ((0, 0), (0, 0), (prefix, 0), (prefix, 0)))


def relative_logits(
    query: Float[Array, "B h w heads d"],
    rows: Float[Array, "_rows d"],
    columns: Float[Array, "_columns d"],
) -> Float[Array, "B heads h*w h*w"]:
    """Returns the relative logits q.r (Shaw et al., 2018; BoTNet, 2021).

    r is the sum of a row vector and a column vector. Each is multiplied separately, which
    costs h + w instead of h * w products per query.

    Args:
        query: (B, h, w, heads, d).
        rows: (2h' - 1, d); it is resized to h rows.
        columns: (2w' - 1, d); it is resized to w columns.

    Returns:
        (B, heads, h * w, h * w), queries before keys, in the dtype of `query`.
    """
    B, h, w, heads, _ = query.shape
    of_rows = by_pair(resize_offsets(rows, h, axis=0), axis=0)  # (h, h, d)
    of_columns = by_pair(resize_offsets(columns, w, axis=0), axis=0)
    vertical = jnp.einsum("bijnd,ikd->bnijk", query, of_rows.astype(query.dtype))
    horizontal = jnp.einsum("bijnd,jkd->bnijk", query, of_columns.astype(query.dtype))
    logits = vertical[..., :, None] + horizontal[..., None, :]
    return logits.reshape(B, heads, h * w, h * w)
