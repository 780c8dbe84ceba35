"""RandAugment: a few random operations, all of one strength (Cubuk et al. 2020).

The fourteen operations are the paper's. Their ranges are those of AutoAugment (Cubuk et
al. 2019), reached at magnitude 10; every operation grows stronger with the magnitude.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from hybrid_jax.data.transforms.affine import (
    Matrix,
    rotation,
    warped_picture,
    warped_targets,
)
from hybrid_jax.data.transforms.sample import Sample

Recoloring = Callable[[Image.Image, float, np.random.Generator], Image.Image]
Motion = Callable[[tuple[int, int], float, np.random.Generator], Matrix]


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies a few operations, each drawn uniformly from the fourteen.

    Those that change colors leave the padding of the crop alone; those that move pixels
    move boxes and masks too, and uncover gray and void.

    Attributes:
        layers: how many.
        magnitude: 0 to 10; larger counts as 10.
    """

    layers: int
    magnitude: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample changed; the same one if there are no layers."""
        if not self.layers:
            return sample
        strength = min(self.magnitude, 10.0) / 10
        picture, content = Image.fromarray(sample.image), sample.content_yxyx_px
        for _ in range(self.layers):
            name = OPERATIONS[rng.integers(len(OPERATIONS))]
            if name in MOTIONS:
                matrix = MOTIONS[name](picture.size, strength, rng)
                picture = warped_picture(picture, matrix)
                sample = warped_targets(sample, matrix)
            else:
                picture = _recolored(picture, content, RECOLORINGS[name], strength, rng)
        return dataclasses.replace(sample, image=np.array(picture))


def _recolored(picture, content, recoloring: Recoloring, strength, rng) -> Image.Image:
    top, left, bottom, right = content
    box = (left, top, right, bottom)
    if box == (0, 0, *picture.size):
        return recoloring(picture, strength, rng)
    framed = picture.copy()
    framed.paste(recoloring(picture.crop(box), strength, rng), box)
    return framed


def _identity(picture, strength, rng):
    return picture


def _auto_contrast(picture, strength, rng):
    return ImageOps.autocontrast(picture)


def _equalize(picture, strength, rng):
    return ImageOps.equalize(picture)


def _posterize(picture, strength, rng):
    return ImageOps.posterize(picture, 8 - round(4 * strength))


def _solarize(picture, strength, rng):
    return ImageOps.solarize(picture, 256 - round(256 * strength))


def _enhance(enhancer: type) -> Recoloring:
    def recoloring(picture, strength, rng):
        return enhancer(picture).enhance(1 + 0.9 * strength * _sign(rng))

    return recoloring


def _rotate(size, strength, rng):
    return rotation(30 * strength * _sign(rng), size=size)


def _shear_x(size, strength, rng):
    return (1, 0.3 * strength * _sign(rng), 0, 0, 1, 0)


def _shear_y(size, strength, rng):
    return (1, 0, 0, 0.3 * strength * _sign(rng), 1, 0)


def _translate_x(size, strength, rng):
    return (1, 0, 0.45 * strength * size[0] * _sign(rng), 0, 1, 0)


def _translate_y(size, strength, rng):
    return (1, 0, 0, 0, 1, 0.45 * strength * size[1] * _sign(rng))


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


RECOLORINGS: dict[str, Recoloring] = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "color": _enhance(ImageEnhance.Color),
    "posterize": _posterize,
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
}
MOTIONS: dict[str, Motion] = {
    "rotate": _rotate,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
# In the order of the draws: another order is another augmentation for the same seed.
OPERATIONS = (
    *("identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "posterize"),
    *("contrast", "brightness", "sharpness", "shear_x", "shear_y"),
    *("translate_x", "translate_y"),
)
