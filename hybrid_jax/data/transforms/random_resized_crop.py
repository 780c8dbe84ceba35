"""Crops a random rectangle and resizes it (Szegedy et al., 2015)."""

import dataclasses
import math

import numpy as np

from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.resize import stretched
from hybrid_jax.data.transforms.sample import Sample

_TRIES = 10  # as torchvision has it


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """Crops a random rectangle and resizes it to a fixed size.

    Ten rectangles are tried; if none fits, the largest centered one of a permitted ratio
    is taken, as torchvision does.

    Attributes:
        hw: (height, width) of the result in px.
        area: range of the rectangle's share of the image, uniform.
        ratio: range of its width / height before resizing, log-uniform.
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    hw: tuple[int, int]
    area: tuple[float, float]
    ratio: tuple[float, float]
    interpolation: str

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample at the size `hw`."""
        top, left, height, width = self._rectangle(sample.hw, rng)
        crop = Placement(sample.hw, sample.hw, (-top, -left), (height, width))
        cropped = sample.placed(crop, interpolation=self.interpolation)
        whole = stretched(cropped.hw, frame_hw=self.hw)
        return cropped.placed(whole, interpolation=self.interpolation)

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        # Of the smallest square; one that is longer is a little larger along one side.
        return max(self.hw) / math.sqrt(self.area[0] * hw[0] * hw[1])

    def _rectangle(
        self, hw: tuple[int, int], rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Returns top, left, height and width."""
        H, W = hw
        narrowest, widest = self.ratio
        for _ in range(_TRIES):
            target = H * W * rng.uniform(*self.area)
            aspect = math.exp(rng.uniform(math.log(narrowest), math.log(widest)))
            width = round(math.sqrt(target * aspect))
            height = round(math.sqrt(target / aspect))
            if 0 < width <= W and 0 < height <= H:
                top = int(rng.integers(H - height + 1))
                left = int(rng.integers(W - width + 1))
                return top, left, height, width
        width = max(1, min(W, round(H * widest)))
        height = max(1, min(H, round(W / narrowest)))
        return (H - height) // 2, (W - width) // 2, height, width
