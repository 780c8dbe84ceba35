"""Where an image lies in a frame of fixed size, and what that does to boxes and masks.

Original px * scale + offset = px of the frame, along each axis. Devices want one size;
scores want original coordinates: a `Placement` is the way there and back.
"""

import dataclasses
import math

import numpy as np
from PIL import Image

from hybrid_jax.contracts import VOID
from hybrid_jax.data.transforms.geometry import FILTERS

PADDING_U8 = 128  # gray: about zero once normalized
_LEAST_SIDE_PX = 1.0  # of a box after cropping, in px of the frame
_LEAST_VISIBLE = 0.2  # share of a box that must be left by a crop


@dataclasses.dataclass(frozen=True)
class Placement:
    """An original image, resized and laid into a frame.

    Attributes:
        original_hw: size of the original image in px.
        resized_hw: size it is resized to.
        offset_yx: where its corner then lies in the frame; negative if it is cropped.
        frame_hw: size of the frame.
    """

    original_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    offset_yx: tuple[int, int]
    frame_hw: tuple[int, int]

    @property
    def scale_yx(self) -> tuple[float, float]:
        """Px of the frame per original px, along each axis."""
        (h, w), (H, W) = self.original_hw, self.resized_hw
        return H / h, W / w

    @property
    def content_yxyx_px(self) -> tuple[int, int, int, int]:
        """The part of the frame that holds the image: top, left, bottom, right."""
        (top, left), (H, W) = self.offset_yx, self.resized_hw
        return (
            max(top, 0),
            max(left, 0),
            min(top + H, self.frame_hw[0]),
            min(left + W, self.frame_hw[1]),
        )

    def image(self, image: np.ndarray, *, interpolation: str) -> np.ndarray:
        """Lays (h, w, 3) uint8 into the frame, antialiased, on gray; (H, W, 3) uint8."""
        frame = np.full((*self.frame_hw, 3), PADDING_U8, np.uint8)
        return self._laid(image, frame, FILTERS[interpolation])

    def mask(self, segmentation: np.ndarray) -> np.ndarray:
        """Lays (h, w) uint8 into the frame, nearest, on void; (H, W) uint8."""
        frame = np.full(self.frame_hw, VOID, np.uint8)
        return self._laid(segmentation, frame, Image.Resampling.NEAREST)

    def boxes(self, boxes_xyxy_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps boxes (M, 4) to the frame.

        Returns:
            The boxes (M, 4) float32, cut at the content's edge, and (M,) bool, False for
            those of which too little is left.
        """
        scale_y, scale_x = self.scale_yx
        offset_y, offset_x = self.offset_yx
        placed = boxes_xyxy_px.reshape(-1, 4) * np.float32([scale_x, scale_y] * 2)
        placed = placed + np.float32([offset_x, offset_y] * 2)
        top, left, bottom, right = self.content_yxyx_px
        low, high = np.float32([left, top] * 2), np.float32([right, bottom] * 2)
        cut = np.clip(placed, low, high).astype(np.float32)
        sides, whole = _sides(cut), _sides(placed)
        visible = sides.prod(-1) >= _LEAST_VISIBLE * whole.prod(-1)
        return cut, visible & (sides >= _LEAST_SIDE_PX).all(-1)

    def _laid(self, array: np.ndarray, frame: np.ndarray, resampling) -> np.ndarray:
        top, left, bottom, right = self.content_yxyx_px
        if bottom <= top or right <= left:
            return frame
        scale_y, scale_x = self.scale_yx
        box = (
            max((left - self.offset_yx[1]) / scale_x, 0.0),
            max((top - self.offset_yx[0]) / scale_y, 0.0),
            min((right - self.offset_yx[1]) / scale_x, float(array.shape[1])),
            min((bottom - self.offset_yx[0]) / scale_y, float(array.shape[0])),
        )
        size = (right - left, bottom - top)
        if size == (array.shape[1], array.shape[0]) == (box[2] - box[0], box[3] - box[1]):
            frame[top:bottom, left:right] = array
            return frame
        picture = Image.fromarray(np.ascontiguousarray(array))
        frame[top:bottom, left:right] = picture.resize(size, resampling, box=box)
        return frame


def stretched(original_hw: tuple[int, int], *, frame_hw: tuple[int, int]) -> Placement:
    """Fills the frame, whatever becomes of the aspect ratio."""
    return Placement(original_hw, frame_hw, (0, 0), frame_hw)


def letterboxed(original_hw: tuple[int, int], *, frame_hw: tuple[int, int]) -> Placement:
    """Fits the whole image into the frame; padding below and to the right."""
    resized = _scaled(original_hw, _fitting(original_hw, frame_hw))
    resized = tuple(min(side, most) for side, most in zip(resized, frame_hw, strict=True))
    return Placement(original_hw, resized, (0, 0), frame_hw)


def scale_jittered(
    original_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    frame_hw: tuple[int, int],
    scale: tuple[float, float],
) -> Placement:
    """Resizes at random and crops or pads at random (Ghiasi et al., 2021).

    Args:
        scale: range of the size, log-uniform; at 1.0 the image just fits into the frame.
    """
    factor = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    resized = _scaled(original_hw, factor * _fitting(original_hw, frame_hw))
    spare = [frame - side for frame, side in zip(frame_hw, resized, strict=True)]
    top, left = (int(rng.integers(min(s, 0), max(s, 0) + 1)) for s in spare)
    return Placement(original_hw, resized, (top, left), frame_hw)


def _fitting(original_hw: tuple[int, int], frame_hw: tuple[int, int]) -> float:
    return min(frame_hw[0] / original_hw[0], frame_hw[1] / original_hw[1])


def _scaled(hw: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(hw[0] * factor)), max(1, round(hw[1] * factor))


def _sides(boxes_xyxy: np.ndarray) -> np.ndarray:
    return np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)
