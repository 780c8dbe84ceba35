"""3x3 max pooling with stride 2, and dilated 2x2 average pooling."""

import functools

import jax
import jax.numpy as jnp

from hybrid_jax.ops.platform import platform


def max_pool(x: jax.Array, *, padding: str) -> jax.Array:
    """Max-pools (B, H, W, C) to (B, ceil(H/2), ceil(W/2), C).

    Args:
        padding: "same" (TensorFlow: more at the end), "centered" (torch: one cell on every
            side) or "zeros" (as "centered", with zeros instead of minus infinity).
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
    """Returns 2x2 average pooling of (B, h, w, C) with stride 1 and dilation `spacing`.

    Cells outside the map are not part of the means.
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
    """Max pooling as the maximum of nine strided views of the map.

    On CPU, this is twice as fast as `reduce_window`, and its gradient ten times.
    """
    return functools.reduce(jnp.maximum, _views(x, pads))


def _views(x, pads) -> list[jax.Array]:
    """Returns nine maps: for each place in a window, the values at that place."""
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
    # Index of the maximum (the first of equals): one byte per window instead of the map.
    winner = jnp.full(y.shape, 8, jnp.int8)
    for place in range(7, -1, -1):
        winner = jnp.where(views[place] == y, jnp.int8(place), winner)
    return y, (winner, x.shape[1:3])


def _shifted_max_backward(pads, residuals, g):
    """Adds the gradient of each window to the cell of its maximum.

    A cell of the padded map in an even row is in the first row of one window and in the
    last row of the window above; a cell in an odd row is in the middle row of one window.
    The same holds for columns, so the gradient is four interleaved maps of half the size.
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
    # The barrier keeps the sums in separate loops, which vectorize; fused with the
    # interleaving they do not.
    even_even, even_odd, odd_even, odd_odd = jax.lax.optimization_barrier(
        (even_even, even_odd, odd_even, odd_odd)
    )
    even = jnp.stack([even_even, even_odd], axis=3)  # (B, h + 1, w + 1, 2, C)
    odd = jnp.stack([odd_even, odd_odd], axis=3)
    padded = jnp.stack([even, odd], axis=2).reshape(B, 2 * (h + 1), 2 * (w + 1), C)
    top, left = pads[0][0], pads[1][0]
    return (padded[:, top : top + H, left : left + W],)


_shifted_max.defvjp(_shifted_max_forward, _shifted_max_backward)
