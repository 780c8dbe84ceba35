"""The grid of a map: its rows and columns."""

from collections.abc import Sequence

import jax


def grid_of(image_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Returns (ceil(H / stride), ceil(W / stride)) for an image of (H, W) px."""
    h, w = (-(-side // stride) for side in image_size)  # sides may be symbols
    return h, w


def hw_of(x: jax.Array) -> tuple[int, int]:
    """Returns (h, w) of a map or of images (B, h, w, C)."""
    return x.shape[1], x.shape[2]
