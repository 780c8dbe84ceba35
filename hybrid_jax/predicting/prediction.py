"""Predictions for one image, one class for each task."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from hybrid_jax.contracts import Task
from hybrid_jax.tasks.json_predictions import own_pixels


@dataclasses.dataclass(frozen=True)
class Label:
    """A class of an image: `name`, `label` (its index) and `probability` in [0, 1]."""

    name: str
    label: int
    probability: float


@dataclasses.dataclass(frozen=True)
class Box:
    """An object: `name`, `label` (class index), `score` in [0, 1], and its box.

    `box_xyxy_px` is (left, top, right, bottom) in px of the given image.
    """

    name: str
    label: int
    score: float
    box_xyxy_px: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class ClassShare:
    """A class of pixels: `name`, `label` (its index), `share` of the pixels in [0, 1]."""

    name: str
    label: int
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is common to the predictions of all tasks.

    Attributes:
        image: path of the file, or "image 3" for the fourth image if it came as pixels.
        drawn_by: makes the drawing, (H, W, 3) uint8; it holds or reads the image.
    """

    image: str
    drawn_by: Callable[[], np.ndarray] = dataclasses.field(repr=False, compare=False)

    def draw(self) -> Image.Image:
        """Returns the image with the prediction drawn on or beside it.

        Raises:
            BadImageError: the file is gone.
        """
        return Image.fromarray(self.drawn_by())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationPrediction(Prediction):
    """The most probable classes of an image, `labels`: five or all, best first."""

    labels: tuple[Label, ...]

    @property
    def best(self) -> Label:
        """The most probable class."""
        return self.labels[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionPrediction(Prediction):
    """The objects in an image, `boxes`, best first."""

    boxes: tuple[Box, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationPrediction(Prediction):
    """The classes of an image's pixels.

    Attributes:
        classes: those that occur, largest first.
        segmentation: (H, W) uint8, the class of each pixel of the image.
    """

    classes: tuple[ClassShare, ...]
    segmentation: np.ndarray = dataclasses.field(repr=False)


def prediction_of(
    row: Mapping[str, np.ndarray],
    task: Task,
    *,
    image: str,
    drawn_by: Callable[[], np.ndarray],
) -> Prediction:
    """Returns one row of `Task.predict` with the names of its classes."""
    common: dict[str, Any] = dict(image=image, drawn_by=drawn_by)
    answer = task.to_json(row)
    if "labels" in answer:
        labels = tuple(Label(**entry) for entry in answer["labels"])
        return ClassificationPrediction(labels=labels, **common)
    if "boxes" in answer:
        boxes = tuple(
            Box(**entry | dict(box_xyxy_px=tuple(entry["box_xyxy_px"])))
            for entry in answer["boxes"]
        )
        return DetectionPrediction(boxes=boxes, **common)
    classes = tuple(ClassShare(**entry) for entry in answer["classes"])
    pixels = own_pixels(row)
    return SegmentationPrediction(classes=classes, segmentation=pixels, **common)
