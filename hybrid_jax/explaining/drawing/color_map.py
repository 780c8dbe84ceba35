"""Colors of heat maps: viridis, whose lightness rises evenly, and gray images below it."""

import numpy as np

# Eleven even steps of viridis (Smith and van der Walt, 2015). Between them it is linear,
# which differs from the table of 256 colors by at most a few levels.
_STEPS = np.array(
    [
        (68, 1, 84),
        (72, 36, 117),
        (65, 68, 135),
        (53, 95, 141),
        (42, 120, 142),
        (33, 145, 140),
        (34, 168, 132),
        (68, 191, 112),
        (122, 209, 81),
        (189, 223, 38),
        (253, 231, 37),
    ],
    np.float32,
)
_OPACITY = 0.6  # of the colors over the image
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of Rec. 601


def colored(heat: np.ndarray) -> np.ndarray:
    """Maps values (...) from 0 to 1 to colors (..., 3) uint8."""
    at = np.clip(heat, 0.0, 1.0) * (len(_STEPS) - 1)
    low = np.minimum(at.astype(np.int32), len(_STEPS) - 2)
    share = (at - low)[..., None]
    mixed = _STEPS[low] * (1 - share) + _STEPS[low + 1] * share
    return np.rint(mixed).astype(np.uint8)


def scaled(heat: np.ndarray) -> np.ndarray:
    """Returns a map (h, w) divided by its maximum; all 0 if it has no positive value."""
    heat = np.maximum(heat.astype(np.float32), 0.0)
    return heat / max(float(heat.max()), np.finfo(np.float32).tiny)


def overlaid(image_u8: np.ndarray, heat: np.ndarray, *, seen: np.ndarray) -> np.ndarray:
    """Returns the colors of a heat map over the gray image, (H, W, 3) uint8.

    Args:
        image_u8: (H, W, 3) uint8.
        heat: (H, W) from 0 to 1.
        seen: (H, W) bool, False where there is no heat map; there the image is gray.
    """
    gray = (image_u8.astype(np.float32) @ _LUMA)[..., None]
    opacity = _OPACITY * seen[..., None]
    mixed = colored(heat) * opacity + gray * (1 - opacity)
    return np.rint(mixed).astype(np.uint8)
