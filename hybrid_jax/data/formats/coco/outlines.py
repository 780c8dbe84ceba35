"""Outlines of COCO's json, polygons or run lengths, as pixels.

Format: the mask API of COCO (github.com/cocodataset/cocoapi), which hotcoco implements.
"""

import dataclasses
from typing import Any

import hotcoco
import numpy as np

from hybrid_jax.data.formats.json_values import finite_number, whole_number

_FEWEST = 6  # numbers of a polygon: three points


@dataclasses.dataclass(frozen=True)
class Polygons:
    """The area inside any of some polygons.

    Attributes:
        points_xy_px: one array x0, y0, x1, y1, ... for each, float64, of at least 6.
    """

    points_xy_px: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class RunLengths:
    """An area as lengths of runs, column by column.

    Attributes:
        hw: (height, width) in px of the picture that they fill.
        counts: the lengths as COCO compresses them.
    """

    hw: tuple[int, int]
    counts: bytes


Outline = Polygons | RunLengths


def outline_of(value: Any) -> Outline | str:
    """Returns the outline under the key `segmentation`, or what is wrong with it."""
    if isinstance(value, dict):
        return _run_lengths(value)
    if not isinstance(value, list) or not value:
        return f"its segmentation is {_short(value)}; expected polygons or run lengths"
    polygons = []
    for polygon in value:
        numbers = [*map(finite_number, polygon)] if isinstance(polygon, list) else []
        if len(numbers) < _FEWEST or len(numbers) % 2 or None in numbers:
            return (
                f"its segmentation has the polygon {_short(polygon)}; expected a list of "
                f"at least three points x, y, x, y, ..."
            )
        polygons.append(np.array(numbers, np.float64))
    return Polygons(tuple(polygons))


def drawn(outline: Outline, *, hw: tuple[int, int]) -> np.ndarray:
    """Returns where the area is, (H, W) bool, as pycocotools has it to the pixel.

    Raises:
        ValueError: run lengths of another size; or polygons that lie outside, reach out of
            the picture by more than its size, or are shares of its sides.
    """
    if isinstance(outline, RunLengths):
        if outline.hw != hw:
            raise ValueError(
                f"has run lengths of {outline.hw[0]}x{outline.hw[1]} px in an image of "
                f"{hw[0]}x{hw[1]} px (height x width)"
            )
        runs: Any = {"size": list(hw), "counts": outline.counts}
    else:
        for points in outline.points_xy_px:
            _check_inside(points, hw)
        # Flat arrays of four numbers would be boxes; these have six and more.
        polygons = [points.tolist() for points in outline.points_xy_px]
        runs = hotcoco.mask.merge(hotcoco.mask.frPyObjects(polygons, *hw))
    return hotcoco.mask.decode(runs).astype(bool)


def _run_lengths(value: dict[str, Any]) -> RunLengths | str:
    size = value.get("size")
    sides = [*map(whole_number, size)] if isinstance(size, list) else []
    if len(sides) != 2 or not all(side and 0 < side < 2**31 for side in sides):
        return f"its run lengths have the size {_short(size)}; expected [height, width]"
    height, width = map(int, filter(None, sides))
    counts = value.get("counts")
    if isinstance(counts, list):
        counts = [*map(whole_number, counts)]
    try:
        runs = hotcoco.mask.frPyObjects(
            {"size": [height, width], "counts": counts}, height, width
        )
    except (TypeError, ValueError, OverflowError) as error:
        return f"its run lengths cannot be read: {error}"
    return RunLengths((height, width), runs["counts"])


def _check_inside(points: np.ndarray, hw: tuple[int, int]) -> None:
    x, y, (height, width) = points[0::2], points[1::2], hw
    if points.min() >= 0 and points.max() <= 1 < min(hw):
        raise ValueError(
            f"has polygons within {points.max():.2f} px of the corner: shares of the "
            f"sides, it seems, where px are expected"
        )
    outside = x.max() <= 0 or y.max() <= 0 or x.min() >= width or y.min() >= height
    far = (
        x.min() < -width
        or y.min() < -height
        or x.max() > 2 * width
        or (y.max() > 2 * height)
    )
    if outside or far:
        raise ValueError(
            f"has a polygon from x {x.min():.1f}, y {y.min():.1f} to x {x.max():.1f}, y "
            f"{y.max():.1f}, outside the image of {height}x{width} px (height x width)"
        )


def _short(value: Any) -> str:
    return repr(value)[:80]
