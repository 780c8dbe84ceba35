"""What all examples of a split are together, in plain values for `check.json`."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybrid_jax.checking.example_facts import ExampleFacts
from hybrid_jax.data.checks.annotations import Fault
from hybrid_jax.data.checks.first_look import by_cause

_EXAMPLES = 5  # of each kind of fault


def summary_of(
    facts: Sequence[ExampleFacts], *, names: Sequence[str], target: str, max_boxes: int
) -> dict[str, Any]:
    """Returns counts, sizes and faults of a split.

    Args:
        facts: of its examples.
        names: of the classes.
        target: "label", "boxes" or "segmentation".
        max_boxes: rows for boxes in a batch.
    """
    read = [one for one in facts if one.hw]
    amounts: collections.Counter[int] = collections.Counter()
    images: collections.Counter[int] = collections.Counter()
    for one in read:
        for label, amount in one.amounts:
            amounts[label] += amount
            images[label] += 1
    word = {"label": "images", "boxes": "objects", "segmentation": "pixels"}[target]
    classes = {
        name: {"images": images[k], word: amounts[k]} for k, name in enumerate(names)
    }
    summary: dict[str, Any] = {
        "examples": len(facts),
        "readable": len(read),
        "classes": classes,
        "height_px": _spread([one.hw[0] for one in read if one.hw]),
        "width_px": _spread([one.hw[1] for one in read if one.hw]),
    }
    if target == "boxes":
        counts = [len(one.box_sides_px) for one in read]
        over = [count - max_boxes for count in counts if count > max_boxes]
        summary |= {
            "boxes_per_image": _spread(counts),
            "box_side_px": _spread([side for one in read for side in one.box_sides_px]),
            "images_without_boxes": counts.count(0),
            "repeated_boxes": sum(one.repeated for one in read),
            "boxes_under_a_pixel": sum(one.vanishing for one in read),
            "boxes_over_max_boxes": sum(over),
        }
    return summary | {"faults": _faults(facts), "repeated_images": _repeated(read)}


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Returns the least, the median and the largest value; None without any."""
    if not values:
        return None
    three = np.quantile(values, [0, 0.5, 1])
    return dict(zip(("min", "median", "max"), three.round(1).tolist(), strict=True))


def _faults(facts: Sequence[ExampleFacts]) -> dict[str, dict[str, Any]]:
    every: list[Fault] = [fault for one in facts for fault in one.faults]
    return {
        fault.cause: {
            "count": fault.count,
            "examples": [f.text for f in every if f.cause == fault.cause][:_EXAMPLES],
        }
        for fault in by_cause(every)
    }


def _repeated(read: Sequence[ExampleFacts]) -> dict[str, Any]:
    """Returns how many images repeat an earlier one, and how many with other labels."""
    first: dict[bytes, ExampleFacts] = {}
    count, differing, examples = 0, 0, []
    for one in read:
        before = first.setdefault(one.fingerprint, one)
        if before is not one:
            count += 1
            differing += before.amounts != one.amounts
            examples.append([before.name, one.name])
    return {
        "count": count,
        "labeled_otherwise": differing,
        "examples": examples[:_EXAMPLES],
    }
