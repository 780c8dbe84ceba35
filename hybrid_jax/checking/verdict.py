"""What keeps data from being trained on, and what one should know before."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.data.checks.box_faults import CAUSES
from hybrid_jax.data.checks.first_look import are_mostly_wrong

_NAMED = 5


def problems_of(
    summaries: Mapping[str, Mapping[str, Any]], *, data: ConfigDict, needed: Sequence[str]
) -> list[str]:
    """Returns why a run would end, or learn nothing; empty if it can train.

    Args:
        summaries: split -> see `summary_of`.
        data: the `data` branch of the config.
        needed: the splits that training reads.
    """
    problems = []
    for split in dict.fromkeys(needed):
        if split not in summaries:
            continue
        summary = summaries[split]
        faults = {cause: fault["count"] for cause, fault in summary["faults"].items()}
        images = faults.pop("image", 0)
        if images and data.on_bad_image == "raise":
            problems.append(
                f"{split}: {images} images cannot be read, and a run ends at the first: "
                f"replace them, or set --config.data.on_bad_image=skip"
            )
        if faults and data.on_bad_annotation == "raise":
            problems.append(
                f"{split}: {sum(faults.values())} annotations are faulty, and a run ends "
                f"at the first: correct them, or set --config.data.on_bad_annotation=skip"
            )
        wrong = sum(faults.get(cause, 0) for cause in CAUSES)
        good = sum(of_class.get("objects", 0) for of_class in summary["classes"].values())
        if are_mostly_wrong(wrong, of=wrong + good):
            causes = ", ".join(f"{faults[c]} {c}" for c in CAUSES if c in faults)
            problems.append(
                f"{split}: {wrong} of {wrong + good} boxes are faulty ({causes}): the data "
                f"means its numbers in another way than the format has it"
            )
        if not summary["readable"]:
            problems.append(f"{split}: not one example can be read")
        elif not any(of_class["images"] for of_class in summary["classes"].values()):
            problems.append(f"{split}: no image shows any class")
    return problems


def remarks_of(
    summaries: Mapping[str, Mapping[str, Any]],
    *,
    duplicates: Sequence[Mapping[str, Any]],
    train: str,
    image_hw: tuple[int, int],
    max_boxes: int,
) -> list[str]:
    """Returns sentences about what may be meant, and may be a mistake.

    Args:
        summaries: split -> see `summary_of`; with that of `train`.
        duplicates: see `duplicates`.
        train: the split that is trained on.
        image_hw: (height, width) in px of the model's images.
        max_boxes: rows for boxes in a batch.
    """
    remarks = _unlearned(summaries, train=train)
    for split, summary in summaries.items():
        remarks += _of_boxes(summary, split=split, image_hw=image_hw, max_boxes=max_boxes)
        repeated = summary["repeated_images"]
        if repeated["count"]:
            other = repeated["labeled_otherwise"]
            remarks.append(
                f"{split}: {repeated['count']} images repeat an earlier one under "
                f"another name"
                f"{f', {other} of them with other annotations' if other else ''}, e.g. "
                f"{' and '.join(repeated['examples'][0])}"
            )
    for pair in duplicates:
        first, second = pair["splits"]
        remarks.append(
            f"{pair['count']} images of {second} are in {first} too, e.g. "
            f"{' and '.join(pair['examples'][0])}"
        )
    return remarks


def _of_boxes(
    summary: Mapping[str, Any], *, split: str, image_hw: tuple[int, int], max_boxes: int
) -> list[str]:
    remarks = []
    if twice := summary.get("repeated_boxes"):
        remarks.append(
            f"{split}: {twice} boxes repeat another one of their image and class, and "
            f"count twice, in training and in the scores"
        )
    if small := summary.get("boxes_under_a_pixel"):
        remarks.append(
            f"{split}: {small} boxes are under a pixel once images fit "
            f"{image_hw[0]}x{image_hw[1]} px (data.image_size, height x width), and are "
            f"left out"
        )
    if over := summary.get("boxes_over_max_boxes"):
        remarks.append(
            f"{split}: {over} boxes are beyond the {max_boxes} that an image may have "
            f"(data.max_boxes), and are left out"
        )
    return remarks


def _unlearned(summaries: Mapping[str, Mapping[str, Any]], *, train: str) -> list[str]:
    """Returns sentences about classes that some split does not show."""
    trained = summaries[train]["classes"]
    unseen = [name for name, of_class in trained.items() if not of_class["images"]]
    remarks = []
    if unseen:
        remarks.append(f"{train}: no image shows {_listed(unseen)}")
    for split, summary in summaries.items():
        if split == train:
            continue
        shown = {name for name, c in summary["classes"].items() if c["images"]}
        if never := [name for name in unseen if name in shown]:
            remarks.append(f"{split} shows {_listed(never)}, which {train} never does")
        lacking = [n for n, c in trained.items() if c["images"] and n not in shown]
        if lacking:
            remarks.append(f"{split}: no image shows {_listed(lacking)}")
    return remarks


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more classes" if more > 0 else "")
