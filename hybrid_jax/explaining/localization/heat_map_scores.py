"""Scores of heat maps against boxes: the pointing game and the energy inside boxes.

Both are compared with a uniform map, whose score is the share of the image that the boxes
cover. A map that is constant, such as zero everywhere, has that score too.
"""

from collections.abc import Sequence

import numpy as np


def inside_boxes(boxes_xyxy_px: np.ndarray, *, image_hw: tuple[int, int]) -> np.ndarray:
    """Returns (H, W) bool: the pixels whose center lies inside at least one box.

    Args:
        boxes_xyxy_px: (M, 4) in px of the image.
        image_hw: (H, W) in px.
    """
    y, x = np.arange(image_hw[0]) + 0.5, np.arange(image_hw[1]) + 0.5
    inside = np.zeros(image_hw, bool)
    for left, top, right, bottom in boxes_xyxy_px:
        inside |= np.outer((y >= top) & (y <= bottom), (x >= left) & (x <= right))
    return inside


def pointing_game(heat: np.ndarray, boxes_xyxy_px: Sequence[np.ndarray]) -> np.ndarray:
    """Returns whether each image's hottest pixel lies in a box (Zhang et al., 2016).

    There is no tolerance around the boxes. Of several hottest pixels it is the share of
    those inside.

    Args:
        heat: (B, H, W).
        boxes_xyxy_px: (M, 4) in px, for each of the B images.

    Returns:
        (B,) float64 from 0 to 1.
    """
    hottest = heat == heat.max((1, 2), keepdims=True)
    return _share_inside(hottest, boxes_xyxy_px)


def energy_in_boxes(heat: np.ndarray, boxes_xyxy_px: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the share of each map's sum that lies inside boxes (Wang et al., 2020).

    Args:
        heat: (B, H, W), not negative.
        boxes_xyxy_px: (M, 4) in px, for each of the B images.

    Returns:
        (B,) float64 from 0 to 1.
    """
    return _share_inside(heat, boxes_xyxy_px)


def box_share(
    boxes_xyxy_px: Sequence[np.ndarray], *, image_hw: tuple[int, int]
) -> np.ndarray:
    """Returns the share of each image that its boxes cover, (B,) float64.

    Args:
        boxes_xyxy_px: (M, 4) in px, for each of the B images.
        image_hw: (H, W) in px.
    """
    shares = [inside_boxes(boxes, image_hw=image_hw).mean() for boxes in boxes_xyxy_px]
    return np.array(shares)


def _share_inside(weights: np.ndarray, boxes_xyxy_px: Sequence[np.ndarray]) -> np.ndarray:
    shares = []
    for weight, boxes in zip(weights.astype(np.float64), boxes_xyxy_px, strict=True):
        inside = inside_boxes(boxes, image_hw=weight.shape)
        total = weight.sum()
        share = (weight * inside).sum() / total if total > 0 else inside.mean()
        shares.append(share)
    return np.array(shares)
