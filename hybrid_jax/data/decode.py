"""Bytes on disk to (H, W, 3) uint8, whatever the file holds."""

import os
import struct

import numpy as np
from PIL import Image, ImageOps

from hybrid_jax.errors import BadImageError

# What Pillow raises for files that are cut short, corrupted or no images at all.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file as (H, W, 3) uint8, upright and in RGB.

    The EXIF orientation is applied. Grey becomes three equal channels, palettes their
    colours, and 16-bit grey its upper eight bits. Transparency is dropped, not blended:
    the colours stored below it are kept, as `Image.convert("RGB")` has it.

    Raises:
        BadImageError: the file is missing, cut short or no image; names the path.
    """
    try:
        with Image.open(path) as image:
            return _upright_rgb(image)
    except _UNREADABLE as error:
        raise BadImageError(
            f"image {os.fspath(path)!r} cannot be read: {error}. Replace or delete the "
            f"file, or pass over such files with --config.data.on_bad_image=skip."
        ) from error


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Turns (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 or uint16 to (H, W, 3) uint8.

    Raises:
        ValueError: another shape.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"expected an image of 1, 3 or 4 channels, got {image.shape}.")
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return np.ascontiguousarray(image[..., :3])


def _upright_rgb(image: Image.Image) -> np.ndarray:
    if image.format == "JPEG" or image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # "I;16", "I;16B" or "I": 16-bit grey
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return as_rgb(grey.astype(np.uint16))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image)
