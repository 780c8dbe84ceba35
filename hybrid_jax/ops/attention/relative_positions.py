"""Relative positions on a grid: tables over offsets, for any grid, as attention logits.

A table for a side of n cells has 2n - 1 entries; entry o + n - 1 belongs to the offset
o = key - query, from -(n - 1) to n - 1. Cells of a (h, w) grid are counted row by row.
"""

import jax
import jax.numpy as jnp
import numpy as np


def resize_offsets(table: jax.Array, side: int, *, axis: int) -> jax.Array:
    """Fits a table of offsets to a side of `side` cells by linear interpolation.

    The ends stay at the ends and offset zero stays at its entry, so that a grid twice as
    fine reads twice as many steps over the same distances.

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
    # The hat function around each entry: linear interpolation as a matrix.
    weights = np.maximum(1.0 - np.abs(at[:, None] - np.arange(entries)), 0.0)
    # High precision: on TPU a plain float32 product would round to bfloat16.
    resized = jnp.tensordot(
        jnp.asarray(weights, table.dtype), table, (1, axis), precision="highest"
    )
    return jnp.moveaxis(resized, 0, axis)


def by_pair(table: jax.Array, *, axis: int) -> jax.Array:
    """Spreads a table of 2n - 1 offsets into n queries by n keys.

    Entry (i, k) is the table's at offset k - i. Instead of a gather, whose gradient is a
    scatter, n copies of the table are laid end to end with one cell between them and cut
    into rows one cell shorter, so that every row starts one offset earlier.

    Returns:
        The table with `axis` replaced by two of length n.
    """
    table = jnp.moveaxis(table, axis, 0)
    entries, rest = table.shape[0], table.shape[1:]
    n = (entries + 1) // 2
    padded = jnp.concatenate([table, jnp.zeros_like(table[:1])])
    copies = jnp.broadcast_to(padded, (n, *padded.shape)).reshape(n * 2 * n, *rest)
    pairs = copies[: n * entries].reshape(n, entries, *rest)[:, n - 1 :]
    return jnp.moveaxis(pairs, (0, 1), (axis, axis + 1))


def relative_bias(table: jax.Array, hw: tuple[int, int], *, prefix: int) -> jax.Array:
    """Returns what a static table adds to the logits of an (h, w) grid (CoAtNet).

    Args:
        table: (heads, 2h' - 1, 2w' - 1), made for any grid.
        prefix: tokens before the grid's; nothing is added where one takes part.

    Returns:
        (1, heads, prefix + h * w, prefix + h * w), query before key.
    """
    h, w = hw
    table = resize_offsets(resize_offsets(table, h, axis=1), w, axis=2)
    pairs = by_pair(by_pair(table, axis=1), axis=3)  # (heads, h, h, w, w)
    bias = pairs.transpose(0, 1, 3, 2, 4).reshape(1, -1, h * w, h * w)
    return jnp.pad(bias, ((0, 0), (0, 0), (prefix, 0), (prefix, 0)))


def relative_logits(query: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Returns q.r, what a query reads at every offset (Shaw et al., 2018; BoTNet).

    r is the sum of a row's and a column's vector, so each is multiplied by itself, at the
    cost of h + w instead of h * w keys, and only the sum has the size of the logits.

    Args:
        query: (B, h, w, heads, d).
        rows: (2h' - 1, d), made for any number of rows.
        columns: (2w' - 1, d).

    Returns:
        (B, heads, h * w, h * w), query before key, in the dtype of `query`.
    """
    B, h, w, heads, _ = query.shape
    of_rows = by_pair(resize_offsets(rows, h, axis=0), axis=0)  # (h, h, d)
    of_columns = by_pair(resize_offsets(columns, w, axis=0), axis=0)
    vertical = jnp.einsum("bijnd,ikd->bnijk", query, of_rows.astype(query.dtype))
    horizontal = jnp.einsum("bijnd,jkd->bnijk", query, of_columns.astype(query.dtype))
    logits = vertical[..., :, None] + horizontal[..., None, :]
    return logits.reshape(B, heads, h * w, h * w)
