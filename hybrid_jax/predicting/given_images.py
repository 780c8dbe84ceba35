"""Images given to `predict`: files, folders, Pillow's images and arrays, in one source."""

import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.formats.decoding.decode import (
    image_hw,
    pixels_of,
    read_image,
    upright_hw,
)
from hybrid_jax.data.input_images import images_of
from hybrid_jax.errors import BadImageError, UserError


class GivenImages:
    """A source of images without targets, in the order in which they are given.

    Args:
        images: one of the following, or several of them: a path of a file or of a folder, a
            pattern such as "photos/*.jpg", a Pillow image, an (H, W, 3) or (H, W) uint8
            array, or an (N, H, W, 3) uint8 array.

    Attributes:
        names: paths, and "image 3" for the fourth of all if it came as pixels.
        info: empty but for the largest height and width.

    Raises:
        UserError: nothing is given, a path stands for no image, or an array is no image.
    """

    def __init__(self, images: Any):
        self._images: list[pathlib.Path | Image.Image | np.ndarray] = []
        one = isinstance(images, str | os.PathLike | Image.Image | np.ndarray)
        for given in [images] if one or not isinstance(images, Iterable) else images:
            self._images += _parts(given)
        if not self._images:
            raise UserError("predict: images: expected one or more images, got none.")
        self.names = [
            str(image) if isinstance(image, pathlib.Path) else f"image {number}"
            for number, image in enumerate(self._images)
        ]
        sizes = [_hw(image) for image in self._images]
        largest = max(h for h, _ in sizes), max(w for _, w in sizes)
        self.info = DatasetInfo(largest_hw=largest)

    def __len__(self) -> int:
        return len(self._images)

    def pixels(self, index: int) -> np.ndarray:
        """Returns an image as (H, W, 3) uint8.

        Raises:
            BadImageError: the file cannot be read.
        """
        image = self._images[index]
        if isinstance(image, np.ndarray):
            return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
        try:
            # As files are read, so that both forms have the same answer.
            return (
                read_image(image) if isinstance(image, pathlib.Path) else pixels_of(image)
            )
        except BadImageError as error:
            raise BadImageError(
                f"predict: {self.names[index]} cannot be read: {error.__cause__}. Replace "
                f"it or leave it out; nothing is predicted without it."
            ) from error

    def __getitem__(self, index: int) -> Example:
        """Returns `image` with empty targets of every kind.

        Raises:
            BadImageError: the file cannot be read.
        """
        image = self.pixels(index)
        return dict(
            image=image,
            label=0,
            boxes_xyxy_px=np.zeros((0, 4), np.float32),
            box_labels=np.zeros(0, np.int32),
            segmentation=np.full(image.shape[:2], VOID, np.uint8),
        )


def _parts(given: Any) -> list[Any]:
    """Returns the images that one of the given objects stands for."""
    if isinstance(given, str | os.PathLike):
        return [path for path, _ in images_of(os.fspath(given), where="predict: images")]
    if isinstance(given, Image.Image):
        return [given]
    if not isinstance(given, np.ndarray) and hasattr(given, "__array__"):
        given = np.asarray(given)
    if not isinstance(given, np.ndarray):
        raise UserError(
            f"predict: images: expected paths, Pillow images or uint8 arrays, got "
            f"{type(given).__name__}."
        )
    color = given.ndim in (3, 4) and given.shape[-1] == 3
    if given.dtype != np.uint8 or not given.size or not (color or given.ndim == 2):
        raise UserError(
            f"predict: images: expected uint8 arrays (H, W, 3) of RGB, (H, W) or "
            f"(N, H, W, 3), got {given.dtype} {given.shape}. Floats in [0, 1]: pass "
            f"(255 * image).round().astype('uint8')."
        )
    return list(given) if given.ndim == 4 else [given]


def _hw(image: pathlib.Path | Image.Image | np.ndarray) -> tuple[int, int]:
    if isinstance(image, Image.Image):
        return upright_hw(image)
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    try:
        return image_hw(image)
    except BadImageError:
        return 1, 1  # reported when it is to be read whole
