"""Whether the boxes and masks of an example can be what they claim to be."""

from typing import Any

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.errors import BadAnnotationError

_PER_BOX = (
    *("boxes_xyxy_px", "box_labels", "box_crowd"),
    *("box_ids", "box_areas_px", "box_written", "box_lines"),
)
# Annotation tools round outwards and count pixels from 0 or from 1.
_OUTSIDE_PX = 1.0


def check_annotations(
    example: Example, *, info: DatasetInfo, skip: bool
) -> tuple[Example, int]:
    """Returns the example with usable annotations alone, and how many were left out.

    Boxes are cut at the image's border. A box is faulty if it reaches beyond it by more
    than a pixel, has no area or not four numbers, or is of an unknown category; it is left
    out. A mask is faulty if its size is not the image's, and becomes void everywhere; or
    if it holds ids beyond the classes, and becomes void there.

    Args:
        example: with `image`, or with `original_hw` instead.
        info: of the data set.
        skip: whether to leave out what is faulty.

    Raises:
        BadAnnotationError: something is faulty and `skip` is False; names file and id.
    """
    hw = tuple(example["image"].shape[:2] if "image" in example else example["original_hw"])
    faulty = 0
    if "boxes_xyxy_px" in example:
        boxes, faulty = _checked_boxes(example, info, hw=hw, skip=skip)
        example = {**example, **boxes}
    if "segmentation" in example:
        mask, fault = _checked_mask(example["segmentation"], info, hw=hw)
        if fault and not skip:
            raise BadAnnotationError(_where(example, fault))
        example, faulty = {**example, "segmentation": mask}, faulty + bool(fault)
    return example, faulty


def _checked_boxes(
    example: Example, info: DatasetInfo, *, hw: tuple[int, int], skip: bool
) -> tuple[dict[str, Any], int]:
    """Returns the keys of the good boxes, and the number of the others."""
    boxes = np.asarray(example["boxes_xyxy_px"], np.float32).reshape(-1, 4)
    labels = np.asarray(example["box_labels"])
    limits = np.array([hw[1], hw[0]] * 2, np.float32)
    cut = np.clip(boxes, 0, limits)
    beyond = (boxes < -_OUTSIDE_PX) | (boxes > limits + _OUTSIDE_PX)
    faults = {
        "is not four numbers": ~np.isfinite(boxes).all(-1),
        "reaches beyond the image": beyond.any(-1),
        "has no area": ~(cut[:, 2:] > cut[:, :2]).all(-1),
        "is of an unknown category": (labels < 0) | (labels >= len(info.box_names)),
    }
    faulty = np.any(list(faults.values()), axis=0)
    if faulty.any() and not skip:
        first = int(np.argmax(faulty))
        fault = next(words for words, found in faults.items() if found[first])
        called = _called(example, first)
        written = example.get("box_written")
        name = "" if written is None else f" (written {str(written[first])!r})"
        raise BadAnnotationError(
            _where(
                example,
                f"the box of {called}, {boxes[first].tolist()} (x0, y0, x1, y1) with "
                f"label {int(labels[first])}{name}, {fault} ({hw[0]}x{hw[1]} px, height x "
                f"width; labels 0 to {len(info.box_names) - 1})",
            )
        )
    kept = {key: np.asarray(example[key])[~faulty] for key in _PER_BOX if key in example}
    return kept | {"boxes_xyxy_px": cut[~faulty]}, int(faulty.sum())


def _checked_mask(
    mask: np.ndarray, info: DatasetInfo, *, hw: tuple[int, int]
) -> tuple[np.ndarray, str]:
    """Returns the mask with void where it cannot be true, and its fault, or ''."""
    if mask.shape != hw:
        fault = (
            f"the mask is {mask.shape[0]}x{mask.shape[1]} px, the image {hw[0]}x{hw[1]} "
            f"(height x width)"
        )
        return np.full(hw, VOID, mask.dtype), fault
    classes = len(info.segmentation_names)
    unknown = (mask >= classes) & (mask != VOID)
    if not unknown.any():
        return mask, ""
    fault = (
        f"the mask holds the id {mask[unknown].max()}, the classes are 0 to {classes - 1} "
        f"and 255 is void; if it is a class, name all classes in classes.txt, a line each; "
        f"if not, give it to config.data.ignore_label"
    )
    return np.where(unknown, mask.dtype.type(VOID), mask), fault


def _called(example: Example, number: int) -> str:
    """Returns what a box is called in the file that it is from."""
    for key, word in (("box_ids", "id"), ("box_lines", "line")):
        if key in example:
            return f"{word} {example[key][number]}"
    return f"index {number}"


def _where(example: Example, fault: str) -> str:
    place = example.get("where", example.get("image_id", "an example"))
    return (
        f"annotation of {str(place)!r}: {fault}. Correct it, or leave such out with "
        f"--config.data.on_bad_annotation=skip."
    )
