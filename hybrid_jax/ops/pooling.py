"""Maximum of 3x3 windows with stride 2, in the form each backend runs fast; mean of 2x2."""

import functools

import jax
import jax.numpy as jnp

from hybrid_jax.ops.platform import platform


def max_pool(x: jax.Array, *, padding: str) -> jax.Array:
    """Pools (B, H, W, C) to (B, ceil(H/2), ceil(W/2), C).

    Args:
        padding: "same" splits as TensorFlow, more at the end; "centered" adds one cell on
            every side, as torch does. What is added never wins a maximum; "zeros" adds
            the same cells as "centered", and they win where all else is negative.
    """
    if padding == "zeros":
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pads = tuple(_pads(side, padding=padding) for side in x.shape[1:3])
    if platform() == "cpu":
        return _shifted_max(x, pads)
    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        window_dimensions=(1, 3, 3, 1),
        window_strides=(1, 2, 2, 1),
        padding=((0, 0), *pads, (0, 0)),
    )


def neighbor_mean(x: jax.Array, *, spacing: int) -> jax.Array:
    """Averages each cell of (B, h, w, C) with those `spacing` to its right and below.

    Neighbors outside the map do not count. At every 2 * `spacing`-th cell it is the mean
    that halving a map of cells `spacing` apart would give.
    """

    def sums(x):
        for axis in (1, 2):
            pads = [(0, spacing if a == axis else 0) for a in range(4)]
            ahead = jnp.pad(x, pads)
            x = x + jax.lax.slice_in_dim(ahead, spacing, ahead.shape[axis], axis=axis)
        return x

    return sums(x) / sums(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _pads(side: int, *, padding: str) -> tuple[int, int]:
    if padding == "zeros":
        return (0, 0)
    if padding == "centered":
        return (1, 1)
    total = 2 * (-(-side // 2) - 1) + 3 - side
    return (total // 2, total - total // 2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _shifted_max(x: jax.Array, pads: tuple[tuple[int, int], ...]) -> jax.Array:
    """The same maximum over nine strided views of the map.

    XLA's CPU backend runs this twice as fast as a window reduction, and its gradient,
    given below, ten times.
    """
    return functools.reduce(jnp.maximum, _views(x, pads))


def _views(x, pads) -> list[jax.Array]:
    """Returns, for each of the nine places in a window, what stands there."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    h, w = ((side - 3) // 2 + 1 for side in padded.shape[1:3])
    return [
        padded[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2]
        for i in range(3)
        for j in range(3)
    ]


@_shifted_max.defjvp
def _shifted_max_derivative(pads, primals, tangents):
    (x,), (tangent,) = primals, tangents
    views = _views(x, pads)
    y = functools.reduce(jnp.maximum, views)
    # Which place won, the first of equals: one byte a window instead of the map again.
    winner = jnp.full(y.shape, 8, jnp.int8)
    for place in range(7, -1, -1):
        winner = jnp.where(views[place] == y, jnp.int8(place), winner)
    return y, _read(tangent, winner, pads)


# A checkpoint, so that nothing but the winner is kept for the gradient.
@functools.partial(jax.checkpoint, static_argnums=2, prevent_cse=False)
def _read(x, winner, pads):
    """Reads what stands at the winner's place of each window.

    A padded cell in an even row is the first row of one window and the last of the window
    above; in an odd row it is the middle of one. The same holds for columns. So the map is
    cut into four of half the size, and the gradient, which goes the other way, adds to
    each of the four and interleaves them.
    """
    B, H, W, C = x.shape
    h, w = winner.shape[1:3]
    (top, _), (left, _) = pads
    bottom, right = 2 * (h + 1) - top - H, 2 * (w + 1) - left - W
    x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    rows = jax.lax.split(x.reshape(B, h + 1, 2, w + 1, 2, C), (1, 1), axis=2)
    maps = [jax.lax.split(row, (1, 1), axis=4) for row in rows]
    # The barrier keeps the gradient's sums in loops of their own, which vectorize; fused
    # into the interleaving they would not.
    maps = jax.lax.optimization_barrier(maps)
    maps = [[cells.reshape(B, h + 1, w + 1, C) for cells in row] for row in maps]

    def at(i, j):
        cells = maps[i % 2][j % 2]
        return cells[:, i // 2 : i // 2 + h, j // 2 : j // 2 + w]

    return sum(
        jnp.where(winner == 3 * i + j, at(i, j), 0.0) for i in range(3) for j in range(3)
    )
