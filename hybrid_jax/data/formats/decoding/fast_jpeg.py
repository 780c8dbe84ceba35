"""JPEGs by simplejpeg where it is installed: the pixels of Pillow in less time.

Both call libjpeg-turbo; simplejpeg lets it write into the array at once.
"""

import functools
import importlib
import importlib.util
from typing import Any

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

_MODES = ("RGB", "L")  # others have colors that Pillow converts by itself


def fast_pixels(image: JpegImageFile, *, divisor: int) -> np.ndarray | None:
    """Returns the pixels as they are stored, (H, W, 3) uint8; None if Pillow has to do it.

    Pillow has to where simplejpeg is missing, and for files that it finds fault with: so
    what can be read, and what the message is, does not depend on it.

    Args:
        image: opened, of which no pixel has been read.
        divisor: of both sides, 1, 2, 4 or 8; they are rounded up.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None or image.mode not in _MODES or image.fp is None:
        return None
    width, height = image.size
    image.fp.seek(0)
    try:
        return simplejpeg.decode_jpeg(
            image.fp.read(),
            colorspace="RGB",
            fastdct=False,
            fastupsample=False,
            min_height=-(-height // divisor),
            min_width=-(-width // divisor),
            min_factor=1,
        )
    except ValueError:
        return None


@functools.cache
def _simplejpeg() -> Any:
    found = importlib.util.find_spec("simplejpeg")
    return importlib.import_module("simplejpeg") if found else None
