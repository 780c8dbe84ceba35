"""Random changes of color of single images, on the host."""

import numpy as np
from PIL import Image, ImageEnhance

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def color_jitter(
    image: np.ndarray, rng: np.random.Generator, *, strength: float
) -> np.ndarray:
    """Scales brightness, contrast and saturation, in random order.

    Args:
        image: (H, W, 3) uint8; so is the result.
        strength: each factor is uniform in [max(0, 1 - strength), 1 + strength].
    """
    if not strength:
        return image
    picture = Image.fromarray(image)
    for number in rng.permutation(len(_ENHANCERS)):
        factor = rng.uniform(max(0.0, 1 - strength), 1 + strength)
        picture = _ENHANCERS[number](picture).enhance(factor)
    return np.array(picture)
