"""How many cells an image has at a stride: the rule all maps and positions are made by."""

import math
from collections.abc import Sequence


def grid_of(image_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Returns (h, w) of a map of an image (H, W) in px: cells reach past its end."""
    h, w = (math.ceil(side / stride) for side in image_size)
    return h, w
