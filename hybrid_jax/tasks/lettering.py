"""Text in drawings: a size that can be read at any image size, and lines that fit."""

import math

import numpy as np
from PIL import ImageFont

_LEAST_SIDE_PX = 256  # smaller images are enlarged, so that names can be read
# The font in px: a fiftieth of the longer side, so that it can be read where a screen shows
# the whole image, and between sizes that can be read as they are and that fill no picture.
_SHARE, _SMALLEST, _LARGEST = 50, 14, 96


def enlarged(image_u8: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns an image (H, W, 3) whose longer side is 256 px or more, and the factor."""
    factor = max(1, math.ceil(_LEAST_SIDE_PX / max(image_u8.shape[:2])))
    return image_u8.repeat(factor, 0).repeat(factor, 1), factor


def font_for(image_u8: np.ndarray) -> ImageFont.FreeTypeFont:
    """Returns the font of names in an image (H, W, 3), of 14 to 96 px."""
    size = min(max(max(image_u8.shape[:2]) // _SHARE, _SMALLEST), _LARGEST)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # without a size it may be a bitmap
    return font


def shortened(text: str, *, font: ImageFont.FreeTypeFont, width_px: float) -> str:
    """Returns the text, or as much of its start as fits, with "..." behind it."""
    if font.getlength(text) <= width_px:
        return text
    count = len(text)
    while count and font.getlength(f"{text[:count].rstrip()}...") > width_px:
        count -= 1
    return f"{text[:count].rstrip()}..."
