"""Random changes of brightness, contrast and saturation."""

import dataclasses

import numpy as np
from PIL import Image, ImageEnhance

from hybrid_jax.data.transforms.sample import Sample

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Scales brightness, contrast and saturation, in random order.

    Padding stays the gray that evaluation has, and does not pull at the contrast.

    Attributes:
        strength: each factor is uniform in [max(0, 1 - strength), 1 + strength].
    """

    strength: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with another image; the same one if `strength` is 0."""
        if not self.strength:
            return sample
        top, left, bottom, right = sample.content_yxyx_px
        picture = Image.fromarray(sample.image[top:bottom, left:right])
        for number in rng.permutation(len(_ENHANCERS)):
            factor = rng.uniform(max(0.0, 1 - self.strength), 1 + self.strength)
            picture = _ENHANCERS[number](picture).enhance(factor)
        if sample.content_yxyx_px == (0, 0, *sample.hw):
            return dataclasses.replace(sample, image=np.array(picture))
        image = sample.image.copy()
        image[top:bottom, left:right] = picture
        return dataclasses.replace(sample, image=image)
