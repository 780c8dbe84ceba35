"""Resizes at random and crops or pads at random (Ghiasi et al., 2021)."""

import dataclasses
import math

import numpy as np

from hybrid_jax.data.transforms.letterbox import fitted_hw
from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.sample import Sample


@dataclasses.dataclass(frozen=True)
class ScaleJitter:
    """Keeps the aspect ratio; the image lies anywhere in the frame or exceeds it.

    Attributes:
        hw: (height, width) of the frame in px.
        scale: range of the size, log-uniform; at 1.0 the image just fits into the frame.
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    hw: tuple[int, int]
    scale: tuple[float, float]
    interpolation: str

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample in a frame of the size `hw`."""
        place = scale_jittered(sample.hw, rng, frame_hw=self.hw, scale=self.scale)
        return sample.placed(place, interpolation=self.interpolation)

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        return self.scale[1] * min(self.hw[0] / hw[0], self.hw[1] / hw[1])


def scale_jittered(
    original_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    frame_hw: tuple[int, int],
    scale: tuple[float, float],
) -> Placement:
    """Returns a random placement; see `ScaleJitter`."""
    factor = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    resized = fitted_hw(original_hw, frame_hw=frame_hw, factor=factor)
    spare = [frame - side for frame, side in zip(frame_hw, resized, strict=True)]
    top, left = (int(rng.integers(min(s, 0), max(s, 0) + 1)) for s in spare)
    return Placement(original_hw, resized, (top, left), frame_hw)
