"""A label file of YOLO: a line for each object, `class cx cy w h` as shares of the image.

Lines of more numbers are outlines, `class x1 y1 x2 y2 x3 y3 ...`.
"""

import dataclasses
import math
import pathlib

import numpy as np

from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.errors import BadAnnotationError


@dataclasses.dataclass(frozen=True)
class YoloLabels:
    """The objects of an image, M of them.

    Attributes:
        ids: (M,) int64, of the classes; -1 for what is no whole number.
        corners: (M, 4) float32, left, top, right and bottom as shares of the image's
            width and height; NaN for what is no box.
        lines: (M,) int64, in the file, from 1.
        outlines: how many are the bounding boxes of outlines.
        repeated: lines that were left out since another one has the same numbers.
    """

    ids: np.ndarray
    corners: np.ndarray
    lines: np.ndarray
    outlines: int = 0
    repeated: int = 0


def no_labels() -> YoloLabels:
    """Returns what an image without objects has."""
    return YoloLabels(
        np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    )


def read_yolo_labels(path: pathlib.Path, *, has_keypoints: bool) -> YoloLabels:
    """Reads a label file.

    Args:
        has_keypoints: whether numbers behind the first five are points, no outline.

    Raises:
        BadAnnotationError: the file cannot be read.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise BadAnnotationError(
            f"labels {str(path)!r} cannot be read: {error}. Correct the file, or leave out "
            f"such images with --config.data.on_bad_annotation=skip."
        ) from error
    ids, corners, lines, seen = [], [], [], set()
    outlines = repeated = 0
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        first, *values = numbers = tuple(map(_number, words))
        if numbers in seen and all(map(math.isfinite, numbers)):
            repeated += 1
            continue
        seen.add(numbers)
        is_outline = len(values) >= 6 and len(values) % 2 == 0 and not has_keypoints
        outlines += is_outline
        ids.append(int(first) if math.isfinite(first) and first == int(first) else -1)
        corners.append(
            _of_outline(values) if is_outline else _of_box(values, more=has_keypoints)
        )
        lines.append(number)
    return YoloLabels(
        np.clip(np.array(ids, np.float64), -1, 2**31).astype(np.int64),
        np.array(corners, np.float32).reshape(-1, 4),
        np.array(lines, np.int64),
        outlines,
        repeated,
    )


def _of_outline(values: list[float]) -> tuple[float, ...]:
    xs, ys = values[::2], values[1::2]
    if not all(map(math.isfinite, values)):
        return (math.nan,) * 4
    return min(xs), min(ys), max(xs), max(ys)


def _of_box(values: list[float], *, more: bool) -> tuple[float, ...]:
    if len(values) < 4 or (len(values) > 4 and not more):
        return (math.nan,) * 4
    x, y, width, height = values[:4]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
