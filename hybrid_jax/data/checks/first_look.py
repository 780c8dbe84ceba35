"""What some examples of a split tell before a run: sizes, and whether boxes make sense."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hybrid_jax.contracts import Example, Source
from hybrid_jax.data.checks.annotations import Fault
from hybrid_jax.data.checks.box_faults import CAUSES
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError

_LOOKED_AT = 64  # examples, over the whole split; headers are read, no pixels if possible
_FEW = 8  # so many faulty boxes may be slips in a small data set


@dataclasses.dataclass(frozen=True)
class FirstLook:
    """What was seen.

    Attributes:
        examples: how many could be read.
        sizes_hw: (height, width) in px of each.
        boxes: how many they have, good and faulty ones.
        faults: of the annotations that a `CheckedSource` left out, one for each cause.
    """

    examples: int
    sizes_hw: tuple[tuple[int, int], ...]
    boxes: int
    faults: tuple[Fault, ...]

    @property
    def sizes(self) -> str:
        """The sizes in words, such as `480x640 px`; '' if nothing could be read."""
        if not self.sizes_hw:
            return ""
        least, most = (one(self.sizes_hw, key=np.prod) for one in (min, max))
        words = [f"{height}x{width}" for height, width in dict.fromkeys((least, most))]
        return f"{' to '.join(words)} px"


def first_look(source: Source) -> FirstLook:
    """Looks at up to 64 examples, evenly spread; what cannot be read is passed over."""
    count = min(len(source), _LOOKED_AT)
    sizes, faults, boxes, examples = [], [], 0, 0
    for index in np.linspace(0, len(source) - 1, count).astype(int).tolist():
        try:
            example = _without_image(source, index)
        except (BadImageError, BadAnnotationError):
            continue
        examples += 1
        sizes.append(tuple(map(int, example["original_hw"])))
        faults += example.get("faults", ())
        boxes += len(example.get("boxes_xyxy_px", ()))
    boxes += sum(fault.count for fault in faults if fault.cause in CAUSES)
    return FirstLook(examples, tuple(sizes), boxes, tuple(by_cause(faults)))


def by_cause(faults: Sequence[Fault]) -> list[Fault]:
    """Returns one fault for each cause, with all counts and the first text."""
    joined: dict[str, Fault] = {}
    for fault in faults:
        before = joined.setdefault(fault.cause, dataclasses.replace(fault, count=0))
        count = before.count + fault.count
        joined[fault.cause] = dataclasses.replace(before, count=count)
    return list(joined.values())


def refuse_mostly_wrong(look: FirstLook, *, name: str, split: str) -> None:
    """Raises `UserError` if more than half of the boxes that were seen are faulty.

    A few can be left out (`data.on_bad_annotation="skip"`); of a file that means its
    numbers in another way, what is left would be learned as if it were all.
    """
    wrong = [fault for fault in look.faults if fault.cause in CAUSES]
    count = sum(fault.count for fault in wrong)
    if not are_mostly_wrong(count, of=look.boxes):
        return
    most = max(wrong, key=lambda fault: fault.count)
    raise UserError(
        f"data {name!r}: {count} of {look.boxes} boxes in {look.examples} images of the "
        f"{split} split are faulty, too many to leave out. {most.count} of them are like "
        f"this one: {most.text}."
    )


def are_mostly_wrong(count: int, *, of: int) -> bool:
    """Whether so many faulty boxes of all are more than slips."""
    return count >= _FEW and 2 * count > of


def faults_note(look: FirstLook, *, split: str) -> str:
    """Returns a sentence about what is left out; '' if nothing is."""
    if not look.faults:
        return ""
    count = sum(fault.count for fault in look.faults)
    causes = ", ".join(f"{fault.count} {fault.cause}" for fault in look.faults)
    return (
        f"{count} faulty annotations are left out of {look.examples} {split} images seen "
        f"({causes}), e.g. {look.faults[0].text}"
    )


def _without_image(source: Source, index: int) -> Example:
    annotations = getattr(source, "annotations", None)
    if annotations is not None:
        return annotations(index)
    example = dict(source[index])
    example["original_hw"] = example.pop("image").shape[:2]
    return example
