"""Shifts the image at random; what it leaves uncovered mirrors it."""

import dataclasses

import numpy as np

from hybrid_jax.data.transforms.resize import stretched
from hybrid_jax.data.transforms.sample import Sample


@dataclasses.dataclass(frozen=True)
class PadAndCrop:
    """Resizes, reflects a border at each side and crops the former size at random.

    Masks are reflected too. Boxes are those of the objects; what is seen of an object in
    the border, at most `pad_px` of it, has none.

    Attributes:
        hw: (height, width) of the result in px.
        pad_px: width of the border; at most one pixel less than the image is taken.
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    hw: tuple[int, int]
    pad_px: int
    interpolation: str

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample at the size `hw`."""
        whole = stretched(sample.hw, frame_hw=self.hw)
        sample = sample.placed(whole, interpolation=self.interpolation)
        pad_px = min(self.pad_px, min(self.hw) - 1)
        if not pad_px:
            return sample
        top, left = (int(start) for start in rng.integers(-pad_px, pad_px + 1, size=2))
        # Only the window is copied: np.pad takes ten times as long for small images.
        rows = _reflected(top, length=self.hw[0])
        columns = _reflected(left, length=self.hw[1])
        window = rows[:, None], columns
        boxes, mask, (y, x) = sample.boxes_xyxy_px, sample.mask, sample.offset_yx
        corner_xyxy = np.array([left, top] * 2, np.float32)
        return dataclasses.replace(
            sample,
            image=sample.image[window],
            # The reflection is no padding: colors change there as elsewhere.
            content_yxyx_px=(0, 0, *self.hw),
            offset_yx=(y - top, x - left),
            boxes_xyxy_px=None if boxes is None else boxes - corner_xyxy,
            mask=None if mask is None else mask[window],
        )

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        return max(self.hw[0] / hw[0], self.hw[1] / hw[1])


def _reflected(start: int, *, length: int) -> np.ndarray:
    """Returns start, start + 1, ... (`length` of them), mirrored into [0, length)."""
    places = np.abs(np.arange(start, start + length))
    return (length - 1) - np.abs((length - 1) - places)
