"""Maps from one stride to another, cell for cell.

A map of stride s has ceil(H / s) rows and cell i begins at pixel i * s. Stretching one
map to another's size would shift its cells whenever H is no multiple of the coarser
stride; scaling by the whole factor and cutting, or padding and pooling, does not.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np


def upsample(
    x: jax.Array,
    hw: tuple[int, int],
    *,
    factor: int,
    method: Literal["nearest", "bilinear"] = "bilinear",
) -> jax.Array:
    """Brings (B, h, w, C) to a stride finer by `factor`.

    Args:
        hw: rows and columns of the result, at most `factor` times those of `x`; what
            lies beyond them is outside the image and is cut off.
        method: "bilinear" samples between cell centers (half-pixel), "nearest" repeats.

    Returns:
        (B, *hw, C) in the dtype of `x`.

    Raises:
        ValueError: `hw` is larger.
    """
    B, h, w, C = x.shape
    if hw[0] > factor * h or hw[1] > factor * w:
        raise ValueError(
            f"upsample: hw: expected at most {(factor * h, factor * w)}, {factor} times "
            f"the map's {(h, w)}, got {tuple(hw)}."
        )
    if factor > 1:
        if method == "nearest":
            x = jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)
        else:
            x = jax.image.resize(x, (B, h * factor, w * factor, C), "linear")
    return x[:, : hw[0], : hw[1]]


def average_pool(x: jax.Array, *, factor: int) -> jax.Array:
    """Brings (B, h, w, C) to a stride coarser by `factor`: the mean of the cells inside.

    Returns:
        (B, ceil(h / factor), ceil(w / factor), C); cells past the border do not count.
    """
    if factor == 1:
        return x
    B, h, w, C = x.shape
    bottom, right = -h % factor, -w % factor
    padded = jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)))
    H, W = (h + bottom) // factor, (w + right) // factor
    sums = padded.reshape(B, H, factor, W, factor, C).sum((2, 4))
    rows, columns = np.full(H, factor), np.full(W, factor)
    rows[-1] -= bottom
    columns[-1] -= right
    return sums / jnp.asarray(np.outer(rows, columns)[..., None], x.dtype)


def to_stride(
    x: jax.Array, hw: tuple[int, int], *, old: int, new: int, method: str = "bilinear"
) -> jax.Array:
    """Brings a map of stride `old` to (B, *hw, C) at stride `new`, finer or coarser.

    Raises:
        ValueError: one stride does not divide the other, or `hw` is not of stride `new`.
    """
    if max(old, new) % min(old, new):
        raise ValueError(
            f"to_stride: new: expected a multiple or a divisor of the map's stride {old}, "
            f"got {new}."
        )
    if old >= new:
        return upsample(x, hw, factor=old // new, method=method)
    pooled = average_pool(x, factor=new // old)
    if pooled.shape[1:3] != tuple(hw):
        raise ValueError(
            f"to_stride: hw: expected {pooled.shape[1:3]}, the map's {x.shape[1:3]} at "
            f"stride {old} brought to {new}, got {tuple(hw)}."
        )
    return pooled
