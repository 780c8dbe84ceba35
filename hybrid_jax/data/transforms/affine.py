"""Turns, shears and shifts of a sample: image, mask and boxes alike.

A matrix (a, b, c, d, e, f) tells where a point (x, y) of the result, in px, lay before:
(a x + b y + c, d x + e y + f), as Pillow has it.
"""

import dataclasses
import math

import numpy as np
from PIL import Image

from hybrid_jax.contracts import VOID
from hybrid_jax.data.transforms.placement import PADDING_U8
from hybrid_jax.data.transforms.sample import Sample

Matrix = tuple[float, float, float, float, float, float]


def rotation(degrees: float, *, size: tuple[int, int]) -> Matrix:
    """Returns the turn about the center of a picture, counterclockwise.

    Args:
        size: (width, height) in px.
    """
    # Rounded and added up as in Pillow's `Image.rotate`, so that pixels equal its own.
    angle, x, y = -math.radians(degrees), size[0] / 2, size[1] / 2
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    return (cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y)


def warped_picture(picture: Image.Image, matrix: Matrix) -> Image.Image:
    """Returns an RGB picture moved, bilinear, on gray."""
    return _warped(picture, matrix, Image.Resampling.BILINEAR, (PADDING_U8,) * 3)


def warped_targets(sample: Sample, matrix: Matrix) -> Sample:
    """Returns the sample with boxes, mask and content moved, but not its image.

    Boxes become those around their moved corners. `scale_yx` and `offset_yx` stay: they
    lead to where the pixels lay before.
    """
    if sample.boxes_xyxy_px is None and sample.mask is None:
        return sample  # of a label alone nobody asks where the content lies
    # What was outside is gray now, wherever it moves: boxes are cut before and after.
    sample = sample.with_boxes_cut()
    boxes, mask = sample.boxes_xyxy_px, sample.mask
    if boxes is not None:
        boxes = _warped_boxes(boxes, matrix)
    if mask is not None:
        picture = Image.fromarray(np.ascontiguousarray(mask))
        mask = np.array(_warped(picture, matrix, Image.Resampling.NEAREST, VOID))
    content = _warped_content(sample.content_yxyx_px, matrix, hw=sample.hw)
    return dataclasses.replace(
        sample, boxes_xyxy_px=boxes, mask=mask, content_yxyx_px=content
    )


def _warped(picture, matrix: Matrix, resampling, fill) -> Image.Image:
    affine = Image.Transform.AFFINE
    return picture.transform(picture.size, affine, matrix, resampling, fillcolor=fill)


def _warped_boxes(boxes_xyxy: np.ndarray, matrix: Matrix) -> np.ndarray:
    x, y = _forward(boxes_xyxy[:, [0, 2, 2, 0]], boxes_xyxy[:, [1, 1, 3, 3]], matrix)
    around = [x.min(1), y.min(1), x.max(1), y.max(1)]
    return np.stack(around, 1).astype(np.float32)


def _warped_content(yxyx_px, matrix: Matrix, *, hw) -> tuple[int, int, int, int]:
    top, left, bottom, right = yxyx_px
    corners = [_forward(x, y, matrix) for x in (left, right) for y in (top, bottom)]
    (H, W), (xs, ys) = hw, zip(*corners, strict=True)
    return (
        min(max(math.floor(min(ys)), 0), H),
        min(max(math.floor(min(xs)), 0), W),
        min(max(math.ceil(max(ys)), 0), H),
        min(max(math.ceil(max(xs)), 0), W),
    )


def _forward(x, y, matrix: Matrix):
    """Returns where points (x, y) lie afterwards; numbers or arrays."""
    a, b, c, d, e, f = matrix
    x, y, area = x - c, y - f, a * e - b * d
    return (e * x - b * y) / area, (a * y - d * x) / area
