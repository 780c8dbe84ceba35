"""Convolution of maps, in the form each backend runs fast, forwards and backwards."""

import functools

import jax
import jax.numpy as jnp

from hybrid_jax.ops.platform import platform

Pads = tuple[tuple[int, int], tuple[int, int]]


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: str | Pads = "SAME",
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolves (B, H, W, C_in) maps with a (kh, kw, C_in / groups, C_out) kernel.

    Args:
        stride: cells from one window to the next.
        padding: "SAME", or cells before and after in height and in width, 0 or more.
        dilation: cells from one tap to the next.
        groups: channels are convolved in this many groups.
    """
    strides = (stride, stride)
    # Groups and dilation are left to XLA: not measured, and rare in wide layers.
    if dilation == groups == 1 and _product_is_faster(x, kernel, stride):
        if isinstance(padding, str):
            padding = jax.lax.padtype_to_pads(
                x.shape[1:3], kernel.shape[:2], strides, padding
            )
        return _as_product(x, kernel, stride, tuple(map(tuple, padding)))
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=padding,
        rhs_dilation=(dilation, dilation),
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _product_is_faster(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether one product of all windows beats XLA's convolution: on CPUs, in wide layers.

    The windows are nine copies of the map; the more output channels, the more arithmetic
    for each copied number. `docs/cpu.md` has the ratios from which the limits are.
    """
    wide = 512 if stride == 1 else 256
    return (
        platform() == "cpu"
        and x.dtype == kernel.dtype == jnp.float32
        and kernel.shape[:2] == (3, 3)
        and stride <= 2
        and min(kernel.shape[2:]) >= wide
    )


# A checkpoint, so that the map is kept for the gradient and not its nine copies.
@functools.partial(jax.checkpoint, static_argnums=(2, 3), prevent_cse=False)
def _as_product(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """Multiplies each window, laid out as the kernel is, by the kernel.

    Differentiated, it gives one product for each of the two gradients.
    """
    windows = jnp.concatenate(_views(x, kernel.shape[:2], stride, pads), axis=-1)
    B, h, w, size = windows.shape
    # In two dimensions, the backward product needs no transposed copy.
    y = windows.reshape(-1, size) @ kernel.reshape(size, -1)
    return y.reshape(B, h, w, -1)


def _views(x, sides, stride, pads) -> list[jax.Array]:
    """Returns, for each place in a window, row by row, what stands there.

    The map is cut into `stride` ** 2 maps of every `stride`-th cell, of which a view is a
    plain slice: so the gradient adds slices, and interleaves the maps once.
    """
    B, H, W, C = x.shape
    h, w = (
        (side + sum(pad) - taps) // stride + 1
        for side, pad, taps in zip((H, W), pads, sides, strict=True)
    )
    more = [(taps - 1) // stride for taps in sides]  # cells beyond the first of a window
    rows, columns = h + more[0], w + more[1]
    x = jax.lax.pad(  # a negative number of cells takes away those that no window reads
        x,
        jnp.zeros((), x.dtype),
        [
            (0, 0, 0),
            (pads[0][0], stride * rows - pads[0][0] - H, 0),
            (pads[1][0], stride * columns - pads[1][0] - W, 0),
            (0, 0, 0),
        ],
    )
    maps = [[x]]
    if stride > 1:
        x = x.reshape(B, rows, stride, columns, stride, C)
        ones = (1,) * stride
        # The barrier keeps the gradient's sums in loops of their own, which vectorize;
        # fused into the interleaving they would not.
        maps = jax.lax.optimization_barrier(
            [jax.lax.split(row, ones, axis=4) for row in jax.lax.split(x, ones, axis=2)]
        )
    maps = [[cells.reshape(B, rows, columns, C) for cells in row] for row in maps]

    def view(i, j):
        cells, i, j = maps[i % stride][j % stride], i // stride, j // stride
        return cells[:, i : i + h, j : j + w]

    return [view(i, j) for i in range(sides[0]) for j in range(sides[1])]
