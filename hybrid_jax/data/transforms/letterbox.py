"""Fits the whole image into a frame and keeps its aspect ratio."""

import dataclasses

import numpy as np

from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.sample import Sample


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """Fits the whole image into a frame; gray padding below and to the right.

    Attributes:
        hw: (height, width) of the frame in px.
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    hw: tuple[int, int]
    interpolation: str

    def __call__(self, sample: Sample, rng: np.random.Generator | None) -> Sample:
        """Returns the sample in a frame of the size `hw`; draws nothing."""
        place = letterboxed(sample.hw, frame_hw=self.hw)
        return sample.placed(place, interpolation=self.interpolation)

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        return min(self.hw[0] / hw[0], self.hw[1] / hw[1])


def letterboxed(original_hw: tuple[int, int], *, frame_hw: tuple[int, int]) -> Placement:
    """Returns the placement that fits the whole image into the frame."""
    (h, w), (H, W) = fitted_hw(original_hw, frame_hw=frame_hw, factor=1.0), frame_hw
    return Placement(original_hw, (min(h, H), min(w, W)), (0, 0), frame_hw)


def fitted_hw(
    original_hw: tuple[int, int], *, frame_hw: tuple[int, int], factor: float
) -> tuple[int, int]:
    """Returns the size, in px, at which an image is `factor` times what just fits."""
    (h, w), (H, W) = original_hw, frame_hw
    scale = factor * min(H / h, W / w)
    return max(1, round(h * scale)), max(1, round(w * scale))
