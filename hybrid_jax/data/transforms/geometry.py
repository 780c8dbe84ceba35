"""Sizes and crops of single images, on the host.

Images are (H, W, 3) uint8 and C-contiguous, before and after. Sizes are (height, width),
in px. Resizing is antialiased (Pillow), as published models are trained and evaluated.
"""

import math

import numpy as np
from PIL import Image

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def resize(image: np.ndarray, *, hw: tuple[int, int], interpolation: str) -> np.ndarray:
    """Resizes to exactly `hw`, without regard to the aspect ratio.

    Args:
        interpolation: "bicubic" or "bilinear".
    """
    height, width = hw
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((width, height), FILTERS[interpolation]))


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    hw: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    interpolation: str,
) -> np.ndarray:
    """Crops a random rectangle and resizes it to `hw` (Szegedy et al. 2015).

    Ten rectangles are tried; if none fits, the largest centered one of a permitted ratio
    is taken, as torchvision does.

    Args:
        area: range of the rectangle's share of the image, uniform.
        ratio: range of its width / height before resizing, log-uniform.
        interpolation: "bicubic" or "bilinear".
    """
    H, W = image.shape[:2]
    for _ in range(10):
        target = H * W * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width = round(math.sqrt(target * aspect))
        height = round(math.sqrt(target / aspect))
        if 0 < width <= W and 0 < height <= H:
            top = int(rng.integers(H - height + 1))
            left = int(rng.integers(W - width + 1))
            break
    else:
        width = max(1, min(W, round(H * ratio[1])))
        height = max(1, min(H, round(W / ratio[0])))
        top, left = (H - height) // 2, (W - width) // 2
    rectangle = image[top : top + height, left : left + width]
    return resize(rectangle, hw=hw, interpolation=interpolation)


def pad_and_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    hw: tuple[int, int],
    pad_px: int,
    interpolation: str,
) -> np.ndarray:
    """Resizes to `hw`, reflects `pad_px` at each side and crops `hw` at random.

    The border is at most one pixel less than the image, for want of more to reflect.
    """
    image = resize(image, hw=hw, interpolation=interpolation)
    pad_px = min(pad_px, min(hw) - 1)
    if not pad_px:
        return image
    top, left = rng.integers(-pad_px, pad_px + 1, size=2)
    # Only the window is copied: np.pad takes ten times as long for small images.
    rows, columns = _reflected(top, length=hw[0]), _reflected(left, length=hw[1])
    return image[rows[:, None], columns]


def _reflected(start: int, *, length: int) -> np.ndarray:
    """Returns start, start + 1, ... (`length` of them), mirrored into [0, length)."""
    places = np.abs(np.arange(start, start + length))
    return (length - 1) - np.abs((length - 1) - places)


def resize_and_center_crop(
    image: np.ndarray, *, hw: tuple[int, int], crop: float, interpolation: str
) -> np.ndarray:
    """Resizes, keeping the aspect ratio, and cuts `hw` from the center.

    The image is resized to just cover `hw / crop`, rounded down; for squares this is
    timm's evaluation: the shorter side becomes `size / crop`.

    Args:
        crop: share of the covered size that is kept, in (0, 1].
        interpolation: "bicubic" or "bilinear".
    """
    H, W = image.shape[:2]
    height, width = hw
    cover_height, cover_width = math.floor(height / crop), math.floor(width / crop)
    # The side that fits exactly is set, not computed, so that it cannot be off by one.
    if cover_height * W >= cover_width * H:
        resized = (cover_height, max(cover_width, int(cover_height * W / H)))
    else:
        resized = (max(cover_height, int(cover_width * H / W)), cover_width)
    image = resize(image, hw=resized, interpolation=interpolation)
    top = round((resized[0] - height) / 2)
    left = round((resized[1] - width) / 2)
    return np.ascontiguousarray(image[top : top + height, left : left + width])
