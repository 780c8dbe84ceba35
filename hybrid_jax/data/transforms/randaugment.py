"""RandAugment: a few random operations, all of one strength (Cubuk et al. 2020).

The fourteen operations are the paper's. Their ranges are those of AutoAugment (Cubuk et
al. 2019), reached at magnitude 10; every operation grows stronger with the magnitude.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_GRAY = (128, 128, 128)  # fills what a shift or a turn uncovers

Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def rand_augment(
    image: np.ndarray, rng: np.random.Generator, *, layers: int, magnitude: float
) -> np.ndarray:
    """Applies `layers` operations, each drawn uniformly from the fourteen.

    Args:
        image: (H, W, 3) uint8; so is the result.
        magnitude: 0 to 10; larger counts as 10.
    """
    if not layers:
        return image
    strength = min(magnitude, 10.0) / 10
    picture = Image.fromarray(image)
    names = tuple(OPERATIONS)
    for _ in range(layers):
        operation = OPERATIONS[names[rng.integers(len(names))]]
        picture = operation(picture, strength, rng)
    return np.array(picture)


def _identity(picture, strength, rng):
    return picture


def _auto_contrast(picture, strength, rng):
    return ImageOps.autocontrast(picture)


def _equalize(picture, strength, rng):
    return ImageOps.equalize(picture)


def _rotate(picture, strength, rng):
    degrees = 30 * strength * _sign(rng)
    return picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_GRAY)


def _posterize(picture, strength, rng):
    return ImageOps.posterize(picture, 8 - round(4 * strength))


def _solarize(picture, strength, rng):
    return ImageOps.solarize(picture, 256 - round(256 * strength))


def _enhance(enhancer: type) -> Operation:
    def operation(picture, strength, rng):
        return enhancer(picture).enhance(1 + 0.9 * strength * _sign(rng))

    return operation


def _shear_x(picture, strength, rng):
    return _affine(picture, (1, 0.3 * strength * _sign(rng), 0, 0, 1, 0))


def _shear_y(picture, strength, rng):
    return _affine(picture, (1, 0, 0, 0.3 * strength * _sign(rng), 1, 0))


def _translate_x(picture, strength, rng):
    shift_px = 0.45 * strength * picture.width * _sign(rng)
    return _affine(picture, (1, 0, shift_px, 0, 1, 0))


def _translate_y(picture, strength, rng):
    shift_px = 0.45 * strength * picture.height * _sign(rng)
    return _affine(picture, (1, 0, 0, 0, 1, shift_px))


def _affine(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BILINEAR,
        fillcolor=_GRAY,
    )


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "rotate": _rotate,
    "solarize": _solarize,
    "color": _enhance(ImageEnhance.Color),
    "posterize": _posterize,
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
