"""What is wrong with boxes, cause by cause, whatever format they are from."""

import numpy as np

# Annotation tools round outwards and count pixels from 0 or from 1.
_OUTSIDE_PX = 1.0

CAUSES = {
    "numbers": "is not four numbers",
    "class": "is of an unknown category",
    "relative": "seems to hold shares of the image's sides where px are expected",
    "swapped": "has its corners swapped",
    "outside": "reaches beyond the image",
    "area": "has no area",
}
"""Name of a cause -> what a box does; of several, a box has the first."""


def box_causes(
    boxes_xyxy_px: np.ndarray, labels: np.ndarray, *, hw: tuple[int, int], num_classes: int
) -> np.ndarray:
    """Returns what is wrong with each box, (M,) str of `CAUSES`, "" for good ones.

    A box is relative if all of it lies in the pixel at the upper left corner and a
    coordinate is no whole number; outside if it reaches beyond the image by more than a
    pixel; without area if nothing of it is left in the image.

    Args:
        boxes_xyxy_px: (M, 4) float32 in px, as the file means them.
        labels: (M,) int32.
        hw: (height, width) of the image in px.
        num_classes: K; labels are 0 to K - 1.
    """
    boxes = boxes_xyxy_px
    limits = np.array([hw[1], hw[0]] * 2, np.float32)
    cut = np.clip(boxes, 0, limits)
    finite = np.isfinite(boxes).all(-1)
    ordered = (boxes[:, 2:] >= boxes[:, :2]).all(-1)
    beyond = (boxes < -_OUTSIDE_PX) | (boxes > limits + _OUTSIDE_PX)
    in_corner = ((boxes >= -1) & (boxes <= 1)).all(-1) & (min(hw) > 1)
    fraction = (np.where(np.isfinite(boxes), boxes, 0) % 1 != 0).any(-1)
    found = {
        "numbers": ~finite,
        "class": (labels < 0) | (labels >= num_classes),
        "relative": in_corner & fraction & ordered,
        "swapped": ~ordered,
        "outside": beyond.any(-1),
        "area": ~(cut[:, 2:] > cut[:, :2]).all(-1),
    }
    return np.select([found[cause] for cause in CAUSES], list(CAUSES), default="")
