"""From the image of a source to the image of a batch, as `config.data` says.

What costs little on the device (flips, erasing, mixing, normalizing) happens there.
"""

import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.data.transforms import geometry, photometric, randaugment


class TrainTransform:
    """Crops and augments one training image.

    Args:
        data: the resolved `config.data`.
    """

    def __init__(self, data: ConfigDict):
        self.hw = _image_hw(data)
        self.crop = data.crop
        self.crop_area = tuple(data.crop_area)
        self.crop_ratio = tuple(data.crop_ratio)
        self.pad_px = data.pad_px
        self.interpolation = data.interpolation
        self.randaugment_layers = data.randaugment_layers
        self.randaugment_magnitude = data.randaugment_magnitude
        self.color_jitter = data.color_jitter

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Turns (H', W', 3) uint8 into (H, W, 3) uint8, C-contiguous."""
        image = self._cropped(image, rng)
        image = photometric.color_jitter(image, rng, strength=self.color_jitter)
        return randaugment.rand_augment(
            image,
            rng,
            layers=self.randaugment_layers,
            magnitude=self.randaugment_magnitude,
        )

    def _cropped(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        same = dict(hw=self.hw, interpolation=self.interpolation)
        if self.crop == "random_resized":
            return geometry.random_resized_crop(
                image, rng, area=self.crop_area, ratio=self.crop_ratio, **same
            )
        if self.crop == "pad":
            return geometry.pad_and_crop(image, rng, pad_px=self.pad_px, **same)
        return geometry.resize(image, **same)


class EvalTransform:
    """Resizes one image and keeps its center, the same every time.

    Args:
        data: the resolved `config.data`.
    """

    def __init__(self, data: ConfigDict):
        self.hw = _image_hw(data)
        self.crop = data.eval_crop
        self.interpolation = data.interpolation

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Turns (H', W', 3) uint8 into (H, W, 3) uint8, C-contiguous."""
        return geometry.resize_and_center_crop(
            image, hw=self.hw, crop=self.crop, interpolation=self.interpolation
        )


def _image_hw(data: ConfigDict) -> tuple[int, int]:
    height, width = data.image_size
    return height, width
