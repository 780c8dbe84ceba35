"""The number of cells of an image at a stride."""

import math
from collections.abc import Sequence


def grid_of(image_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Returns (ceil(H / stride), ceil(W / stride)) for an image of (H, W) px."""
    h, w = (math.ceil(side / stride) for side in image_size)
    return h, w
