"""Which predicted boxes of one image find an object, for pictures and not for scores."""

from collections.abc import Mapping

import numpy as np

_LEAST_IOU = 0.5


def matched(
    found: Mapping[str, np.ndarray], *, objects: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Returns (M,) the IoU of each box with the object it finds, 0 if it finds none.

    The boxes choose one after another; each takes the free object of its class with the
    largest IoU of at least 0.5.

    Args:
        found: `boxes_xyxy_px` (M, 4) and `labels` (M,), the surest first.
        objects: the same of the N objects.
    """
    iou = _iou(found["boxes_xyxy_px"], objects["boxes_xyxy_px"])
    iou *= found["labels"][:, None] == objects["labels"][None]
    partners = np.zeros(len(iou))
    for m in range(len(iou)):
        best = int(iou[m].argmax()) if iou.shape[1] else 0
        if iou.shape[1] and iou[m, best] >= _LEAST_IOU:
            partners[m] = iou[m, best]
            iou[:, best] = 0.0
    return partners


def _iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """Returns (M, N) float64: the IoU of boxes (M, 4) and (N, 4)."""
    a, b = (np.asarray(x, np.float64).reshape(-1, 4) for x in (a_xyxy, b_xyxy))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.maximum(high - low, 0.0).prod(-1)
    areas = [np.maximum(x[:, 2:] - x[:, :2], 0.0).prod(-1) for x in (a, b)]
    return both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9)
