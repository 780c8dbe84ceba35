"""Multi-scale deformable attention (Zhu et al., 2020): a few sampled points per query.

It consists of array operations only, compiles for every backend and can be exported. It
supports reverse-mode differentiation only (`grad`, `vjp`), because the sum over points is a
`custom_vjp`; `jvp`, `jacfwd` and `hessian` raise an error.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hybrid_jax.array_types import Array

SAMPLINGS = ("bilinear", "discrete")


def deformable_attention(
    values: Sequence[Float[Array, "B _h _w heads d"]],
    locations: Float[Array, "B Q heads L P 2"],
    weights: Float[Array, "B Q heads L P"],
    *,
    sampling: str = "bilinear",
) -> Float[Array, "B Q heads d"]:
    """Returns the weighted sum of values sampled at P points of each of L maps.

        out[b, q, n] = sum over l, p of weights[b, q, n, l, p] * values[l][b, point, n]

    A bilinear point reads four cells. These are concatenated once per map, so that each
    point is one gather of 4d numbers: the cost of a gather grows with its number of rows,
    on TPUs most. The gathered rows, B * Q * heads * P * 4d numbers per level, are not
    stored for the backward pass, which gathers them again; only the arguments are stored.
    Each pass may still hold the rows of all levels at once, unless the compiler fuses the
    gathers with the sums.

    Args:
        values: L maps (B, h_l, w_l, heads, d).
        locations: (B, Q, heads, L, P, 2), float32, as (x, y) in cells of level l: 0.0 is
            the left or top border of cell 0, the center of cell i is i + 0.5. Cells
            outside the map are zero, also as neighbors of a point inside.
        weights: (B, Q, heads, L, P), usually with sum one over L and P.
        sampling: "bilinear", or "discrete" (RT-DETRv2, Lv et al., 2024), which reads the
            cell that contains the point: a fourth of the reads, and no gradient to
            `locations`.

    Returns:
        (B, Q, heads, d) in the dtype of the values; sampled and summed in float32.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling: expected one of {SAMPLINGS}, got {sampling!r}.")
    sample = jax.checkpoint(jax.vmap(_bilinear if sampling == "bilinear" else _discrete))
    total = jnp.zeros((), jnp.float32)
    for level, value in enumerate(values):
        # float32: the backward pass sums gradients of many points in one cell, which is
        # inexact in 16 bits, and slow without hardware atomics.
        total = total + sample(
            value.astype(jnp.float32),
            locations[:, :, :, level].astype(jnp.float32),
            weights[:, :, :, level].astype(jnp.float32),
        )
    return total.astype(values[0].dtype)


def _bilinear(value: jax.Array, locations: jax.Array, weights: jax.Array) -> jax.Array:
    """One example: (h, w, heads, d), (Q, heads, P, 2), (Q, heads, P) -> (Q, heads, d)."""
    h, w, heads, d = value.shape
    padded = jnp.pad(value, ((1, 1), (1, 1), (0, 0), (0, 0)))
    # Row (i, j) has cells (i-1, j-1), (i-1, j), (i, j-1), (i, j); the border is zero.
    corners = (padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])
    table = jnp.concatenate(corners, axis=-1)  # (h+1, w+1, heads, 4d)
    # Relative to the center of cell 0; clipped to the zero border.
    x = jnp.clip(locations[..., 0] - 0.5, -1.0, w)
    y = jnp.clip(locations[..., 1] - 0.5, -1.0, h)
    column = jax.lax.stop_gradient(jnp.minimum(jnp.floor(x), w - 1))
    row = jax.lax.stop_gradient(jnp.minimum(jnp.floor(y), h - 1))
    right, below = x - column, y - row
    shares = jnp.stack(
        [
            (1.0 - below) * (1.0 - right),
            (1.0 - below) * right,
            below * (1.0 - right),
            below * right,
        ],
        axis=-1,
    )  # (Q, heads, P, 4)
    cell = (row + 1).astype(jnp.int32) * (w + 1) + (column + 1).astype(jnp.int32)
    rows = _rows(table.reshape(-1, 4 * d), cell, heads).reshape(*cell.shape, 4, d)
    return _weigh(rows, shares * weights[..., None])


def _discrete(value: jax.Array, locations: jax.Array, weights: jax.Array) -> jax.Array:
    """As `_bilinear`, from the cell that contains each point."""
    h, w, heads, d = value.shape
    column, row = jnp.moveaxis(jnp.floor(jax.lax.stop_gradient(locations)), -1, 0)
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    row, column = jnp.clip(row, 0, h - 1), jnp.clip(column, 0, w - 1)
    cell = row.astype(jnp.int32) * w + column.astype(jnp.int32)
    rows = _rows(value.reshape(-1, d), cell, heads)
    return _weigh(rows[..., None, :], (weights * inside)[..., None])


def _rows(table: jax.Array, cell: jax.Array, heads: int) -> jax.Array:
    """Gathers rows (Q, heads, P, C) of a table (cells * heads, C), separately per head."""
    index = cell * heads + jnp.arange(heads)[:, None]
    return jnp.take(table, index, axis=0, mode="clip")


@jax.custom_vjp
def _weigh(rows: jax.Array, shares: jax.Array) -> jax.Array:
    """Returns the sum of rows (Q, heads, P, cells, d) times shares (Q, heads, P, cells).

    Forward it is a product and a sum, backward a dot product for the shares: the forms that
    compilers fuse with the gather and the scatter. On CPU the forward pass takes half the
    time of an einsum, the backward pass a third of the automatic gradient.
    """
    return (rows * shares[..., None]).sum((-3, -2))


def _forward(rows, shares):
    return _weigh(rows, shares), (rows, shares)


def _backward(residuals, g):
    rows, shares = residuals
    d_shares = jnp.einsum("qnpcd,qnd->qnpc", rows, g)
    return shares[..., None] * g[..., None, None, :], d_shares


_weigh.defvjp(_forward, _backward)
