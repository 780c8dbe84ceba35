"""Examples with boxes or masks as rows of batches: image and targets moved alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.contracts import VOID, Example
from hybrid_jax.data.transforms import photometric
from hybrid_jax.data.transforms.placement import (
    Placement,
    letterboxed,
    scale_jittered,
    stretched,
)
from hybrid_jax.errors import UserError

_CROPS = ("resize", "letterbox", "scale_jitter")


class DenseRows:
    """Turns examples into the keys of `Batch` for "boxes" and "segmentation".

    Args:
        data: the resolved `config.data`.
        targets: of "boxes" and "segmentation".

    Raises:
        UserError: an augmentation of `config.data` that moves pixels without their targets.
    """

    def __init__(self, data: ConfigDict, targets: Sequence[str]):
        if data.crop not in _CROPS:
            raise UserError(
                f"config.data.crop: expected one of {', '.join(_CROPS)} for data with "
                f"{' and '.join(targets)}, got {data.crop!r}."
            )
        if data.randaugment_layers:
            raise UserError(
                "config.data.randaugment_layers: expected 0 for data with boxes or masks, "
                f"got {data.randaugment_layers}: it moves pixels without them. Use "
                "data.color_jitter and data.crop=scale_jitter."
            )
        self.hw: tuple[int, int] = tuple(data.image_size)
        self._data = data.to_dict()
        self._targets = tuple(targets)

    def train(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Places, crops and colors one training example."""
        data, hw = self._data, example["image"].shape[:2]
        if data["crop"] == "scale_jitter":
            place = scale_jittered(
                hw, rng, frame_hw=self.hw, scale=tuple(data["scale_jitter"])
            )
        elif data["crop"] == "letterbox":
            place = letterboxed(hw, frame_hw=self.hw)
        else:
            place = stretched(hw, frame_hw=self.hw)
        row = self._row(example, place)
        # Padding stays the gray that evaluation has, and does not pull at the contrast.
        top, left, bottom, right = place.content_yxyx_px
        content = row["image"][top:bottom, left:right]
        content[:] = photometric.color_jitter(content, rng, strength=data["color_jitter"])
        return row

    def evaluate(self, example: Example) -> dict[str, np.ndarray]:
        """Places one example, the same every time."""
        fit = letterboxed if self._data["eval_fit"] == "letterbox" else stretched
        return self._row(example, fit(example["image"].shape[:2], frame_hw=self.hw))

    def empty(self) -> dict[str, np.ndarray]:
        """Returns a row of the same keys and types that holds nothing."""
        place = stretched((1, 1), frame_hw=self.hw)
        row = dict(image=np.zeros((*self.hw, 3), np.uint8), **_geometry(place))
        if "boxes" in self._targets:
            row |= self._box_rows(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
        if "segmentation" in self._targets:
            row["segmentation"] = np.full(self.hw, VOID, np.uint8)
        return row | dict(faulty=np.int32(0))

    def _row(self, example: Example, place: Placement) -> dict[str, np.ndarray]:
        data = self._data
        image = place.image(example["image"], interpolation=data["interpolation"])
        row: dict[str, Any] = dict(image=image)
        row["faulty"] = np.int32(example.get("faulty", 0))
        row |= _geometry(place)
        if "boxes" in self._targets:
            boxes, kept = place.boxes(example["boxes_xyxy_px"])
            # A crowd is one box around many objects and no example of one; its cells train
            # as background.
            kept &= ~np.asarray(example.get("box_crowd", np.zeros(len(boxes), bool)))
            row |= self._box_rows(boxes[kept], example["box_labels"][kept])
        if "segmentation" in self._targets:
            row["segmentation"] = place.mask(example["segmentation"])
        return row

    def _box_rows(self, boxes: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        room = self._data["max_boxes"]
        if len(boxes) > room:
            # The largest are kept: they are seen best.
            sides = boxes[:, 2:] - boxes[:, :2]
            chosen = np.sort(np.argsort(-sides.prod(-1), kind="stable")[:room])
            boxes, labels, dropped = boxes[chosen], labels[chosen], len(boxes) - room
        else:
            dropped = 0
        rows = dict(
            boxes_xyxy_px=np.zeros((room, 4), np.float32),
            box_labels=np.zeros(room, np.int32),
            box_mask=np.arange(room) < len(boxes),
            dropped=np.int32(dropped),
        )
        rows["boxes_xyxy_px"][: len(boxes)] = boxes
        rows["box_labels"][: len(boxes)] = labels
        return rows


def _geometry(place: Placement) -> dict[str, np.ndarray]:
    return dict(
        original_hw=np.asarray(place.original_hw, np.int32),
        scale_yx=np.asarray(place.scale_yx, np.float32),
        offset_yx=np.asarray(place.offset_yx, np.float32),
        content_yxyx_px=np.asarray(place.content_yxyx_px, np.int32),
    )
