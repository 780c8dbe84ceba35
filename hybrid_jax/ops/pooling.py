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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
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


def _shifted_max_forward(x, pads):
    views = _views(x, pads)
    y = functools.reduce(jnp.maximum, views)
    # Which place won, the first of equals: one byte a window instead of the map again.
    winner = jnp.full(y.shape, 8, jnp.int8)
    for place in range(7, -1, -1):
        winner = jnp.where(views[place] == y, jnp.int8(place), winner)
    return y, (winner, x.shape[1:3])


def _shifted_max_backward(pads, residuals, g):
    """Hands each window's gradient to its winner.

    A padded cell in an even row is the first row of one window and the last of the window
    above; in an odd row it is the middle of one. The same holds for columns, so the
    gradient is four maps of half the size, interleaved.
    """
    winner, (H, W) = residuals
    B, h, w, C = g.shape
    at = [jnp.where(winner == place, g, 0.0) for place in range(9)]

    def placed(gradient, below, right):
        shifts = ((0, 0), (below, 1 - below), (right, 1 - right), (0, 0))
        return jnp.pad(gradient, shifts)

    even_even = placed(at[0], 0, 0) + placed(at[2], 0, 1)
    even_even += placed(at[6], 1, 0) + placed(at[8], 1, 1)
    even_odd = placed(at[1], 0, 0) + placed(at[7], 1, 0)
    odd_even = placed(at[3], 0, 0) + placed(at[5], 0, 1)
    odd_odd = placed(at[4], 0, 0)
    # The barrier keeps the sums in loops of their own, which vectorize; fused into the
    # interleaving they would not.
    even_even, even_odd, odd_even, odd_odd = jax.lax.optimization_barrier(
        (even_even, even_odd, odd_even, odd_odd)
    )
    even = jnp.stack([even_even, even_odd], axis=3)  # (B, h + 1, w + 1, 2, C)
    odd = jnp.stack([odd_even, odd_odd], axis=3)
    padded = jnp.stack([even, odd], axis=2).reshape(B, 2 * (h + 1), 2 * (w + 1), C)
    top, left = pads[0][0], pads[1][0]
    return (padded[:, top : top + H, left : left + W],)


_shifted_max.defvjp(_shifted_max_forward, _shifted_max_backward)
