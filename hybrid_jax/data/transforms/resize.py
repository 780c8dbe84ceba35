"""Resizes to a fixed size, whatever becomes of the aspect ratio."""

import dataclasses

import numpy as np

from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.sample import Sample


@dataclasses.dataclass(frozen=True)
class Resize:
    """Fills a frame with the whole image.

    Attributes:
        hw: (height, width) of the frame in px.
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    hw: tuple[int, int]
    interpolation: str

    def __call__(self, sample: Sample, rng: np.random.Generator | None) -> Sample:
        """Returns the sample at the size `hw`; draws nothing."""
        place = stretched(sample.hw, frame_hw=self.hw)
        return sample.placed(place, interpolation=self.interpolation)

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        return max(self.hw[0] / hw[0], self.hw[1] / hw[1])


def stretched(original_hw: tuple[int, int], *, frame_hw: tuple[int, int]) -> Placement:
    """Returns the placement that fills the frame."""
    return Placement(original_hw, frame_hw, (0, 0), frame_hw)
