"""Whether the boxes and masks of an example can be what they claim to be."""

import dataclasses
from typing import Any

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.checks.box_faults import CAUSES, box_causes
from hybrid_jax.errors import BadAnnotationError

_PER_BOX = (
    *("boxes_xyxy_px", "box_labels", "box_crowd"),
    *("box_ids", "box_areas_px", "box_written", "box_lines"),
)
_TO_DO = "Correct it, or leave such out with --config.data.on_bad_annotation=skip."


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with annotations of one example.

    Attributes:
        cause: one of `box_faults.CAUSES`, or "mask".
        count: how many annotations.
        text: where the first of them is, and what is wrong with it.
    """

    cause: str
    count: int
    text: str


def check_annotations(
    example: Example, *, info: DatasetInfo, skip: bool
) -> tuple[Example, list[Fault]]:
    """Returns the example with usable annotations alone, and what was left out.

    Boxes are cut at the image's border; what makes them faulty, `box_causes` says. A mask
    is faulty if its size is not the image's, and becomes void everywhere; or if it holds
    ids beyond the classes, and becomes void there.

    Args:
        example: with `image`, or with `original_hw` instead.
        info: of the data set.
        skip: whether to leave out what is faulty.

    Raises:
        BadAnnotationError: something is faulty and `skip` is False; names file and id.
    """
    hw = tuple(example["image"].shape[:2] if "image" in example else example["original_hw"])
    faults: list[Fault] = []
    if "boxes_xyxy_px" in example:
        boxes, faults = _checked_boxes(example, info, hw=hw)
        example = {**example, **boxes}
    if "segmentation" in example:
        mask, fault = _checked_mask(example["segmentation"], info, hw=hw)
        if fault:
            faults.append(Fault("mask", 1, _where(example, fault)))
        example = {**example, "segmentation": mask}
    if faults and not skip:
        raise BadAnnotationError(f"{faults[0].text}. {_TO_DO}")
    return example, faults


def _checked_boxes(
    example: Example, info: DatasetInfo, *, hw: tuple[int, int]
) -> tuple[dict[str, Any], list[Fault]]:
    """Returns the keys of the good boxes, and what is wrong with the others."""
    boxes = np.asarray(example["boxes_xyxy_px"], np.float32).reshape(-1, 4)
    labels = np.asarray(example["box_labels"])
    causes = box_causes(boxes, labels, hw=hw, num_classes=len(info.box_names))
    faults = []
    # In the order of the file.
    for cause in dict.fromkeys(filter(None, causes.tolist())):
        first = int(np.argmax(causes == cause))
        written = example.get("box_written")
        name = "" if written is None else f" (written {str(written[first])!r})"
        text = (
            f"the box of {_called(example, first)}, {_rounded(boxes[first])} (x0, y0, x1, "
            f"y1) with label {int(labels[first])}{name}, {CAUSES[cause]} ({hw[0]}x{hw[1]} "
            f"px, height x width; labels 0 to {len(info.box_names) - 1})"
        )
        count = int((causes == cause).sum())
        faults.append(Fault(cause, count, _where(example, text)))
    good = causes == ""
    kept = {key: np.asarray(example[key])[good] for key in _PER_BOX if key in example}
    limits = np.array([hw[1], hw[0]] * 2, np.float32)
    return kept | {"boxes_xyxy_px": np.clip(boxes, 0, limits)[good]}, faults


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


def _rounded(box: np.ndarray) -> list[float]:
    return [round(number, 2) for number in box.tolist()]


def _called(example: Example, number: int) -> str:
    """Returns what a box is called in the file that it is from."""
    for key, word in (("box_ids", "id"), ("box_lines", "line")):
        if key in example:
            return f"{word} {example[key][number]}"
    return f"index {number}"


def _where(example: Example, fault: str) -> str:
    place = example.get("where", example.get("image_id", "an example"))
    return f"annotation of {str(place)!r}: {fault}"
