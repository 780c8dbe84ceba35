"""Which way up a picture is: one reader for its size and for its pixels.

Values 1 to 8 and their meaning: CIPA DC-008, Exchangeable image file format (EXIF).
"""

import re

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from hybrid_jax.data.formats.decoding.png_chunks import metadata_behind_pixels

_TAG = 0x0112  # of EXIF
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """Returns 1 to 8, as EXIF or XMP says; from 5 on, stored rows are upright columns.

    To be asked before the pixels are read. Metadata that is missing, damaged or says
    something else is 1, upright.
    """
    if image.format == "TIFF":
        return 1  # Pillow turns both its size and its pixels by itself
    try:
        if image.format == "PNG":
            return _orientation_of_png(image)
        return _valid(image.getexif().get(_TAG))
    except Exception:  # whatever Pillow raises for metadata, the pixels may be whole
        return 1


def upright(image: Image.Image) -> Image.Image:
    """Returns the picture turned as `orientation_of` says, pixels unread until then."""
    method = _METHODS.get(orientation_of(image))
    return image if method is None else image.transpose(method)


def upright_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns stored pixels (H, W, 3) turned by an orientation, 1 to 8, and contiguous."""
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels)


def _orientation_of_png(image: Image.Image) -> int:
    # Not the method of PNG itself, which decodes the pixels to look behind them.
    before = Image.Image.getexif(image).get(_TAG)
    if before is not None:
        return _valid(before)
    file = image.fp if isinstance(image, ImageFile) else None
    behind = metadata_behind_pixels(file) if file is not None else {}
    if b"eXIf" in behind:
        exif = Image.Exif()
        exif.load(behind[b"eXIf"])
        return _valid(exif.get(_TAG))
    in_xmp = _IN_XMP.search(behind.get(b"iTXt", b""))
    return int(in_xmp[1]) if in_xmp else 1


def _valid(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
