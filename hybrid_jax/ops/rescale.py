"""Resampling of maps from one stride to another.

A map of stride s has ceil(H / s) rows, and cell i begins at pixel i * s. Resizing to the
size of another map would shift the cells if H is not a multiple of the coarser stride.
Upsampling by the integer factor and cropping, or padding and pooling, keeps them in place.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hybrid_jax.array_types import Array, Map

Method = Literal["nearest", "bilinear"]


def upsample(
    x: Map,
    hw: tuple[int, int],
    *,
    factor: int,
    method: Method = "bilinear",
) -> Float[Array, "B {hw[0]} {hw[1]} C"]:
    """Upsamples (B, h, w, C) by an integer factor and crops to `hw`.

    Args:
        hw: rows and columns of the result, at most `factor` times those of `x`.
        method: "bilinear" (half-pixel centers) or "nearest".

    Returns:
        (B, *hw, C) in the dtype of `x`.

    Raises:
        ValueError: `hw` is too large.
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


def average_pool(
    x: Map, *, factor: int
) -> Float[Array, "B -(-h//{factor}) -(-w//{factor}) C"]:
    """Averages (B, h, w, C) over windows of `factor` x `factor` cells.

    Returns:
        (B, ceil(h / factor), ceil(w / factor), C); padding is not part of the means.
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
    x: Map,
    hw: tuple[int, int],
    *,
    old: int,
    new: int,
    method: Method = "bilinear",
) -> Float[Array, "B {hw[0]} {hw[1]} C"]:
    """Resamples a map of stride `old` to (B, *hw, C) at stride `new`, finer or coarser.

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
            f"to_stride: hw: expected {pooled.shape[1:3]} for a map of {x.shape[1:3]} "
            f"cells pooled from stride {old} to {new}, got {tuple(hw)}."
        )
    return pooled
