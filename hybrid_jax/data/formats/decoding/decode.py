"""Files of images and masks to uint8 arrays, whatever the files hold."""

import contextlib
import contextvars
import io
import math
import os
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hybrid_jax.data.formats.decoding.fast_jpeg import fast_pixels
from hybrid_jax.data.formats.decoding.gray_values import GrayValuesError, gray_bytes
from hybrid_jax.data.formats.decoding.orientation import (
    orientation_of,
    upright,
    upright_pixels,
)
from hybrid_jax.data.formats.decoding.png_chunks import SIGNATURE, picture_alone
from hybrid_jax.data.formats.decoding.scaled_decoding import divisor_of
from hybrid_jax.errors import BadAnnotationError, BadImageError

_BITS_PER_SAMPLE = 258  # a tag of TIFF
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
# Of a picture, above which Pillow takes the file for an attack.
_MAX_PIXELS = contextvars.ContextVar("max_pixels", default=178_956_970)
_MASK_MODES = ("1", "L", "P")  # and "I;16", "I": read as they are
_COLORED_MODES = ("LA", "RGB", "RGBA")  # may hold one channel several times


@contextlib.contextmanager
def at_most_pixels(most: int) -> Iterator[None]:
    """Refuses pictures of more pixels within the block, in this thread.

    Pillow's own limit is raised where it is lower, for the whole process.
    """
    own = Image.MAX_IMAGE_PIXELS
    if own is not None and most > 2 * own:  # it warns above this and refuses twice as much
        Image.MAX_IMAGE_PIXELS = math.ceil(most / 2)
    token = _MAX_PIXELS.set(most)
    try:
        yield
    finally:
        _MAX_PIXELS.reset(token)


def read_image(path: str | os.PathLike | bytes) -> np.ndarray:
    """Reads an image file, or the bytes of one, as (H, W, 3) uint8, upright and in RGB.

    The orientation in its metadata is applied (see `orientation_of`). Metadata that is
    damaged or odd is passed over. Gray becomes three equal channels, palettes their
    colors; for gray of more bits or of floats see `gray_bytes`. Transparency is dropped,
    not blended: the colors stored below it are kept, as `Image.convert("RGB")` has it.
    JPEGs are smaller where `decoded_for` allows it.

    Raises:
        BadImageError: the file is missing, cut short or no image; names the path.
    """
    try:
        with _opened(path) as image:
            if isinstance(image, JpegImageFile):
                return _upright_jpeg(image)
            return _upright_rgb(image)
    except _UNREADABLE as error:
        raise _bad_image(path, error) from error


def pixels_of(image: Image.Image) -> np.ndarray:
    """Returns an opened Pillow image as `read_image` returns the file of it.

    The image is not closed and not changed, but for being loaded.

    Raises:
        BadImageError: the file it was opened from is cut short.
    """
    try:
        return _upright_rgb(image)
    except _UNREADABLE as error:
        raise _bad_image(getattr(image, "filename", "") or "in memory", error) from error


def read_mask(path: str | os.PathLike | bytes) -> np.ndarray:
    """Reads a file of class ids, or its bytes, as (H, W) uint8, upright, ids as stored.

    Palettes are not looked up: the numbers are the classes, the colors are for people. Red,
    green and blue that are the same everywhere are ids too, whatever the transparency, and
    so are floats that are whole numbers.

    Raises:
        BadImageError: the file is missing, cut short or no image; names the path.
        BadAnnotationError: it holds colors, or ids that do not fit into a byte.
    """
    try:
        with _opened(path) as image:
            mode = image.mode
            ids = _single_channel(np.array(upright(image)), mode=mode)
    except _UNREADABLE as error:
        raise _bad_image(path, error) from error
    if ids is None:
        raise BadAnnotationError(
            f"mask {_called(path)}: expected one channel of class ids (gray or "
            f"palette), got mode {mode!r} with other values than whole numbers that are "
            f"alike in all channels. Save the ids themselves, not their colors, or leave "
            f"such masks out with --config.data.on_bad_annotation=skip."
        )
    if ids.dtype != bool and (ids.min() < 0 or ids.max() > 255):
        raise BadAnnotationError(
            f"mask {_called(path)}: expected class ids 0 to 254 and 255 for void, got "
            f"{ids.min()} to {ids.max()}. Correct it, or leave such masks out with "
            f"--config.data.on_bad_annotation=skip."
        )
    return ids.astype(np.uint8)


def _single_channel(ids: np.ndarray, *, mode: str) -> np.ndarray | None:
    """Returns ids (H, W) of what a mask holds; None if they are colors or fractions."""
    if mode in _MASK_MODES or mode[0] == "I":
        return ids
    if mode in _COLORED_MODES:
        first, others = ids[..., 0], ids[..., 1 : len(mode.removesuffix("A"))]
        return first if (others == first[..., None]).all() else None
    if mode == "F" and np.isfinite(ids).all() and (ids == np.round(ids)).all():
        return ids
    return None


def image_hw(path: str | os.PathLike | bytes) -> tuple[int, int]:
    """Returns (height, width) in px of an image once upright, from its header.

    Raises:
        BadImageError: as `read_image`.
    """
    try:
        with _opened(path) as image:
            return upright_hw(image)
    except _UNREADABLE as error:
        raise _bad_image(path, error) from error


def upright_hw(image: Image.Image) -> tuple[int, int]:
    """Returns (height, width) in px of an opened Pillow image once upright."""
    width, height = image.size
    return (width, height) if orientation_of(image) >= 5 else (height, width)


def peak_of_16_bits(path: str | os.PathLike) -> int | None:
    """Returns the largest value of an image of gray integers that are taken for 16 bits.

    Its pixels are read. Those of 32 bits count too, since no more is kept of them. None for
    all others, for those that say that they use fewer bits, and for files that cannot be
    read; of these only the header is.
    """
    with contextlib.suppress(*_UNREADABLE), _opened(path) as image:
        if image.mode[0] == "I" and _bits(image) == 16:
            return int(np.asarray(image).max())
    return None


def _opened(path: str | os.PathLike | bytes) -> Image.Image:
    image = _opened_whatever_size(path)
    width, height = image.size
    if width * height > _MAX_PIXELS.get():
        image.close()
        raise Image.DecompressionBombError(f"it has {height}x{width} px")
    return image


def _opened_whatever_size(path: str | os.PathLike | bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(path) if isinstance(path, bytes) else path)
    except Image.DecompressionBombError:
        raise
    except _UNREADABLE:
        with io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb") as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                raise
            # Pillow gives up for a damaged or huge text, behind which the pixels are whole.
            return Image.open(picture_alone(file))


def _called(path: str | os.PathLike | bytes) -> str:
    return "in a record" if isinstance(path, bytes) else repr(os.fspath(path))


def _bad_image(path: str | os.PathLike | bytes, error: Exception) -> BadImageError:
    if isinstance(error, Image.DecompressionBombError):
        return BadImageError(
            f"image {_called(path)} is larger than config.data.max_pixels = "
            f"{_MAX_PIXELS.get()}: {error}. Raise that if memory allows, make the image "
            f"smaller, or pass over such files with --config.data.on_bad_image=skip."
        )
    if isinstance(error, GrayValuesError):
        return BadImageError(
            f"image {_called(path)}: {error}. Or pass over such files with "
            f"--config.data.on_bad_image=skip."
        )
    return BadImageError(
        f"image {_called(path)} cannot be read: {error}. Replace or delete the "
        f"file, or pass over such files with --config.data.on_bad_image=skip."
    )


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Turns (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 or uint16 to (H, W, 3) uint8.

    Raises:
        ValueError: another shape.
    """
    if image.dtype == np.uint16:
        image = gray_bytes(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"expected an image of 1, 3 or 4 channels, got {image.shape}.")
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return np.ascontiguousarray(image[..., :3])


def _upright_jpeg(image: JpegImageFile) -> np.ndarray:
    divisor = divisor_of(upright_hw(image))
    pixels = fast_pixels(image, divisor=divisor)
    if pixels is not None:
        return upright_pixels(pixels, orientation_of(image))
    if divisor > 1:
        width, height = image.size
        image.draft(image.mode, (max(1, width // divisor), max(1, height // divisor)))
    return _upright_rgb(image)


def _bits(image: Image.Image) -> int:
    """Returns how many bits of gray values are used, where a TIFF says 9 to 15."""
    stored = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    return stored if 8 < stored < 16 else 16


def _upright_rgb(image: Image.Image) -> np.ndarray:
    image = upright(image)
    if image.mode[0] in "IF":  # "I;16", "I;16B" or "I": integers; "F": floats
        return as_rgb(gray_bytes(np.asarray(image), bits=_bits(image)))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image)
