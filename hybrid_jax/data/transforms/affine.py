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
    content = np.float32(sample.content_yxyx_px)[[1, 0, 3, 2]]
    left, top, right, bottom = _warped_boxes(content[None], matrix)[0].tolist()
    # What was outside is gray now, wherever it moves: boxes are cut before and after.
    sample = sample.with_boxes_cut()
    boxes, mask = sample.boxes_xyxy_px, sample.mask
    if boxes is not None:
        boxes = _warped_boxes(boxes, matrix)
    if mask is not None:
        picture = Image.fromarray(np.ascontiguousarray(mask))
        mask = np.array(_warped(picture, matrix, Image.Resampling.NEAREST, VOID))
    H, W = sample.hw
    content = (
        *(min(max(math.floor(edge), 0), most) for edge, most in ((top, H), (left, W))),
        *(min(max(math.ceil(edge), 0), most) for edge, most in ((bottom, H), (right, W))),
    )
    return dataclasses.replace(
        sample, boxes_xyxy_px=boxes, mask=mask, content_yxyx_px=content
    )


def _warped(picture, matrix: Matrix, resampling, fill) -> Image.Image:
    affine = Image.Transform.AFFINE
    return picture.transform(picture.size, affine, matrix, resampling, fillcolor=fill)


def _warped_boxes(boxes_xyxy: np.ndarray, matrix: Matrix) -> np.ndarray:
    a, b, c, d, e, f = matrix
    forward = np.linalg.inv([[a, b], [d, e]])
    corners = boxes_xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] - np.array([c, f])
    moved = corners @ forward.T
    return np.concatenate([moved.min(1), moved.max(1)], 1).astype(np.float32)
