"""One example as bytes: what `--mode=pack` writes and `records:` reads.

The bytes are a safetensors file: `image` and `segmentation` as files of images, arrays as
they are, and all else as json under `example`.
"""

import io
import json
from typing import Any

import numpy as np
import safetensors.numpy
from PIL import Image

from hybrid_jax.contracts import Example
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image, read_mask

_FILES = ("image", "segmentation")
_NOT_KEPT = (*_FILES, "faulty", "faults")


def to_record(example: Example, *, image_file: bytes) -> bytes:
    """Returns an example as bytes.

    Args:
        example: of a source.
        image_file: what `read_image` makes `image` of.
    """
    arrays = {"image": np.frombuffer(image_file, np.uint8)}
    if "segmentation" in example:
        mask = png_of(np.ascontiguousarray(example["segmentation"]))
        arrays["segmentation"] = np.frombuffer(mask, np.uint8)
    values: dict[str, Any] = {}
    for key, value in example.items():
        if key in _NOT_KEPT:
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            arrays[key] = np.ascontiguousarray(value)
        else:
            values[key] = value.tolist() if isinstance(value, np.ndarray) else value
    text = json.dumps(values, default=str).encode()
    arrays["example"] = np.frombuffer(text, np.uint8)
    return safetensors.numpy.save(arrays)


def from_record(record: bytes, *, with_image: bool) -> Example:
    """Returns the example of a record, with `image` or with `original_hw` instead.

    Raises:
        BadImageError, BadAnnotationError: the image or the mask cannot be read.
        Exception: of json or safetensors, the record is damaged.
    """
    arrays = safetensors.numpy.load(record)
    files = {key: arrays.pop(key).tobytes() for key in _FILES if key in arrays}
    example: Example = {**json.loads(arrays.pop("example").tobytes()), **arrays}
    if "box_written" in example:
        example["box_written"] = np.array(example["box_written"], str)
    if "segmentation" in files:
        example["segmentation"] = read_mask(files["segmentation"])
    if with_image:
        example["image"] = read_image(files["image"])
    else:
        example["original_hw"] = image_hw(files["image"])
    return example


def png_of(image_u8: np.ndarray) -> bytes:
    """Returns (H, W) or (H, W, 3) uint8 as the bytes of a PNG file, which loses nothing."""
    file = io.BytesIO()
    Image.fromarray(image_u8).save(file, "PNG")
    return file.getvalue()
