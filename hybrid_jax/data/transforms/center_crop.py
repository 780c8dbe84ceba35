"""Resizes, keeping the aspect ratio, and cuts the center: how classifiers are evaluated."""

import dataclasses
import math

import numpy as np

from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.resize import stretched
from hybrid_jax.data.transforms.sample import Sample

# Of a resized picture, in units of what is covered. Longer ones are cropped first: memory
# is bounded by the output, and pixels may differ by a gray level from resizing it all.
_MAX_RESIZED = 8


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """Resizes the image to just cover `hw / share`, rounded down, and cuts out `hw`.

    For squares this is timm's evaluation: the shorter side becomes `size / share`.

    Attributes:
        hw: (height, width) of the result in px.
        share: of the covered size that is kept, in (0, 1].
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    hw: tuple[int, int]
    share: float
    interpolation: str

    def __call__(self, sample: Sample, rng: np.random.Generator | None) -> Sample:
        """Returns the sample at the size `hw`; draws nothing."""
        (H, W), (height, width) = sample.hw, self.hw
        covered = math.floor(height / self.share), math.floor(width / self.share)
        # The side that fits exactly is set, not computed, so it cannot be off by one.
        if covered[0] * W >= covered[1] * H:
            resized = (covered[0], max(covered[1], int(covered[0] * W / H)))
        else:
            resized = (max(covered[0], int(covered[1] * H / W)), covered[1])
        top, left = round((resized[0] - height) / 2), round((resized[1] - width) / 2)
        if math.prod(resized) > _MAX_RESIZED * math.prod(covered):
            crop = Placement(sample.hw, resized, (-top, -left), self.hw)
        else:
            whole = stretched(sample.hw, frame_hw=resized)
            sample = sample.placed(whole, interpolation=self.interpolation)
            crop = Placement(resized, resized, (-top, -left), self.hw)
        return sample.placed(crop, interpolation=self.interpolation)

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        return max(self.hw[0] / hw[0], self.hw[1] / hw[1]) / self.share
