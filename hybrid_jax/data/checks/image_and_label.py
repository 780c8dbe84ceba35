"""Whether the image and the label of an example are what every source promises."""

import operator
from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.errors import BadAnnotationError, BadImageError


def check_image(example: Example, *, where: str) -> None:
    """Raises `BadImageError` unless `image`, if it was read, is (H, W, 3) uint8.

    Args:
        example: with `image`, or with `original_hw` instead.
        where: the data and the example, for the message.
    """
    if "image" not in example and "original_hw" in example:
        return
    image = example.get("image")
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
            return
        got = f"{image.shape} {image.dtype}"
    else:
        got = "none" if image is None else f"a {type(image).__name__}"
    raise BadImageError(
        f"{where}: image: expected a numpy array (H, W, 3) uint8, got {got}. Let "
        f"the source return it so; `as_rgb` in data/formats/decoding/decode.py turns gray "
        "to RGB."
    )


def check_label(example: Example, *, info: DatasetInfo, where: str) -> None:
    """Raises `BadAnnotationError` unless `label` is one of the classes, if there are any.

    Args:
        example: any.
        info: of its data set.
        where: the data and the example, for the message.
    """
    if not info.num_classes:
        return
    label: Any = example.get("label")
    try:
        if 0 <= operator.index(label) < info.num_classes:
            return
    except TypeError:  # no integer: a float, a text, an array of several, or nothing
        pass
    got = "none" if label is None else repr(label)
    raise BadAnnotationError(
        f"{where}: label: expected an integer from 0 to {info.num_classes - 1} "
        f"({info.num_classes} classes), got {got}. Correct it, or pass over such examples "
        f"with --config.data.on_bad_annotation=skip."
    )
