"""Whether the boxes and masks of an example can be what they claim to be."""

from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.errors import BadAnnotationError

_PER_BOX = ("boxes_xyxy_px", "box_labels", "box_crowd", "box_ids", "box_areas_px")
# Annotation tools round outwards and count pixels from 0 or from 1.
_OUTSIDE_PX = 1.0


def check_annotations(
    example: Example, *, info: DatasetInfo, skip: bool
) -> tuple[Example, int]:
    """Returns the example with usable annotations alone, and how many were left out.

    Boxes are cut at the image's border. A box is faulty if it reaches beyond it by more
    than a pixel, has no area or not four numbers, or is of an unknown category; a mask, if
    its size is not the image's. A faulty mask becomes void everywhere.

    Args:
        example: with `image`, or with `original_hw` instead.
        info: of the data set.
        skip: whether to leave out what is faulty.

    Raises:
        BadAnnotationError: something is faulty and `skip` is False; names file and id.
    """
    faulty = 0
    if "boxes_xyxy_px" in example:
        example, faulty = _checked_boxes(example, info, skip=skip)
    if "segmentation" in example and "image" in example:
        size, expected = example["segmentation"].shape, example["image"].shape[:2]
        if size != expected:
            if not skip:
                raise BadAnnotationError(
                    _where(
                        example,
                        f"the mask is {size[0]}x{size[1]} px, the image "
                        f"{expected[0]}x{expected[1]} (height x width)",
                    )
                )
            void = np.full(expected, 255, np.uint8)
            example, faulty = {**example, "segmentation": void}, faulty + 1
    return example, faulty


def _checked_boxes(
    example: Example, info: DatasetInfo, *, skip: bool
) -> tuple[Example, int]:
    boxes = np.asarray(example["boxes_xyxy_px"], np.float32).reshape(-1, 4)
    height, width = (
        example["image"].shape[:2] if "image" in example else example["original_hw"]
    )
    limits = np.float32([width, height, width, height])
    faults = {
        "reaches beyond the image": (
            (boxes < -_OUTSIDE_PX) | (boxes > limits + _OUTSIDE_PX)
        ).any(-1),
        "has no area": ~(
            (np.clip(boxes, 0, limits)[:, 2:] > np.clip(boxes, 0, limits)[:, :2]).all(-1)
        ),
        "is of an unknown category": (example["box_labels"] < 0)
        | (example["box_labels"] >= len(info.box_names)),
    }
    faulty = np.any(list(faults.values()), axis=0)
    if faulty.any() and not skip:
        first = int(np.argmax(faulty))
        fault = next(words for words, found in faults.items() if found[first])
        ids = example.get("box_ids")
        called = f"index {first}" if ids is None else f"id {ids[first]}"
        raise BadAnnotationError(
            _where(
                example,
                f"the box of {called}, {boxes[first].tolist()} (x0, y0, x1, y1) with "
                f"category {int(example['box_labels'][first])}, {fault} "
                f"({height}x{width} px; {len(info.box_names)} categories)",
            )
        )
    kept: dict[str, Any] = dict(example, boxes_xyxy_px=np.clip(boxes, 0, limits))
    for key in _PER_BOX:
        if key in kept:
            kept[key] = np.asarray(kept[key])[~faulty]
    return kept, int(faulty.sum())


def _where(example: Example, fault: str) -> str:
    place = example.get("where", example.get("image_id", "an example"))
    return (
        f"annotation of {str(place)!r}: {fault}. Correct it, or leave such out with "
        f"--config.data.on_bad_annotation=skip."
    )
