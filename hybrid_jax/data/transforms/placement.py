"""Where an image lies in a frame of fixed size, and what that does to boxes and masks.

Original px * scale + offset = px of the frame, along each axis.
"""

import dataclasses

import numpy as np
from PIL import Image

from hybrid_jax.contracts import VOID

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
PADDING_U8 = 128  # gray: about zero once normalized


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

    @property
    def changes_nothing(self) -> bool:
        """Whether the frame is the original image."""
        return self.original_hw == self.resized_hw == self.frame_hw and (
            self.offset_yx == (0, 0)
        )

    def rectangle(self, yxyx_px: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Returns the part of the frame that holds a part of the image, rounded to px."""
        (scale_y, scale_x), (y, x), (H, W) = self.scale_yx, self.offset_yx, self.frame_hw
        top, left, bottom, right = yxyx_px
        return (
            min(max(round(top * scale_y) + y, 0), H),
            min(max(round(left * scale_x) + x, 0), W),
            min(max(round(bottom * scale_y) + y, 0), H),
            min(max(round(right * scale_x) + x, 0), W),
        )

    def image(self, image: np.ndarray, *, interpolation: str) -> np.ndarray:
        """Returns (h, w, 3) uint8 laid into the frame, antialiased, on gray.

        Args:
            interpolation: "bicubic" or "bilinear".

        Returns:
            (H, W, 3) uint8; may be a view of `image` where nothing is resized or padded.
        """
        return self._laid(image, PADDING_U8, FILTERS[interpolation])

    def mask(self, segmentation: np.ndarray) -> np.ndarray:
        """Returns (h, w) uint8 laid into the frame, nearest, on void; (H, W) uint8."""
        return self._laid(segmentation, VOID, Image.Resampling.NEAREST)

    def boxes(self, boxes_xyxy_px: np.ndarray) -> np.ndarray:
        """Returns boxes (M, 4) float32 in px of the frame, which they may exceed."""
        (scale_y, scale_x), (offset_y, offset_x) = self.scale_yx, self.offset_yx
        scaled = boxes_xyxy_px * np.array([scale_x, scale_y] * 2, np.float32)
        return scaled + np.array([offset_x, offset_y] * 2, np.float32)

    def _laid(self, array: np.ndarray, padding: int, resampling) -> np.ndarray:
        top, left, bottom, right = self.content_yxyx_px
        if (top, left, bottom, right) == (0, 0, *self.frame_hw):
            return self._content(array, resampling)
        frame = np.full((*self.frame_hw, *array.shape[2:]), padding, np.uint8)
        if top < bottom and left < right:
            frame[top:bottom, left:right] = self._content(array, resampling)
        return frame

    def _content(self, array: np.ndarray, resampling) -> np.ndarray:
        top, left, bottom, right = self.content_yxyx_px
        (y, x), (height, width) = self.offset_yx, array.shape[:2]
        if self.resized_hw == (height, width):
            window = array[top - y : bottom - y, left - x : right - x]
            return array if window.shape == array.shape else window
        scale_y, scale_x = self.scale_yx
        box = (
            max((left - x) / scale_x, 0.0),
            max((top - y) / scale_y, 0.0),
            min((right - x) / scale_x, float(width)),
            min((bottom - y) / scale_y, float(height)),
        )
        picture = Image.fromarray(np.ascontiguousarray(array))
        size = (right - left, bottom - top)
        return np.array(picture.resize(size, resampling, box=box))
