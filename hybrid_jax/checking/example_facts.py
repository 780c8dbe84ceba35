"""What is remembered of one example once it has been read."""

import dataclasses
import hashlib

import numpy as np

from hybrid_jax.contracts import VOID, Example, Source
from hybrid_jax.data.checks.annotations import Fault
from hybrid_jax.errors import BadAnnotationError, BadImageError


@dataclasses.dataclass(frozen=True, slots=True)
class ExampleFacts:
    """Of one example; all but the first three are empty if it cannot be read.

    Attributes:
        index: in its split.
        name: of its file, or what else tells it from others.
        faults: of its annotations, or why it cannot be read ("image", "annotation").
        hw: (height, width) in px; None if it cannot be read.
        amounts: class -> 1 for a label, objects for boxes, pixels for masks.
        box_sides_px: root of the area of every box.
        repeated: boxes that are an earlier one of the same class, to the digit.
        vanishing: boxes under a pixel once the image fits `data.image_size`.
        fingerprint: hash of the decoded pixels, 16 bytes.
    """

    index: int
    name: str
    faults: tuple[Fault, ...]
    hw: tuple[int, int] | None = None
    amounts: tuple[tuple[int, int], ...] = ()
    box_sides_px: tuple[float, ...] = ()
    repeated: int = 0
    vanishing: int = 0
    fingerprint: bytes = b""


def facts_of(
    source: Source, index: int, *, target: str, image_hw: tuple[int, int]
) -> ExampleFacts:
    """Reads an example whole.

    Args:
        source: one that leaves out what is faulty and counts it.
        index: of the example.
        target: "label", "boxes" or "segmentation".
        image_hw: (height, width) in px of the model's images.
    """
    try:
        example = source[index]
    except (BadImageError, BadAnnotationError) as error:
        cause = "image" if isinstance(error, BadImageError) else "annotation"
        return ExampleFacts(index, f"example {index}", (Fault(cause, 1, str(error)),))
    image = example["image"]
    hw = image.shape[:2]
    sides = _sides_px(example) if target == "boxes" else np.zeros((0, 2))
    scale = min(image_hw[0] / hw[0], image_hw[1] / hw[1])
    return ExampleFacts(
        index=index,
        name=_name(example, index),
        faults=tuple(example.get("faults", ())),
        hw=hw,
        amounts=_amounts(example, target),
        box_sides_px=tuple(np.sqrt(sides.prod(-1)).tolist()),
        repeated=_repeated(example) if target == "boxes" else 0,
        vanishing=int((sides * scale < 1).any(-1).sum()),
        fingerprint=_fingerprint(image),
    )


def _name(example: Example, index: int) -> str:
    """Returns the file of an example, or what else tells it from others."""
    known = example.get("image_id", f"example {index}")
    behind = str(example.get("where", "")).rpartition(": ")[2]
    return known if isinstance(known, str) else behind or str(known)


def _amounts(example: Example, target: str) -> tuple[tuple[int, int], ...]:
    if target == "label":
        return ((int(example["label"]), 1),)
    if target == "boxes":
        counts = np.bincount(example["box_labels"])
    else:
        counts = np.bincount(example["segmentation"].ravel(), minlength=VOID + 1)[:VOID]
    return tuple((int(k), int(counts[k])) for k in np.flatnonzero(counts))


def _sides_px(example: Example) -> np.ndarray:
    boxes = example["boxes_xyxy_px"]
    return boxes[:, 2:] - boxes[:, :2]


def _repeated(example: Example) -> int:
    labels = example["box_labels"][:, None]
    rows = np.concatenate([example["boxes_xyxy_px"], labels], axis=1)
    return len(rows) - len(np.unique(rows, axis=0))


def _fingerprint(image: np.ndarray) -> bytes:
    # Of the pixels, as not every source has a file for each image.
    state = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16)
    state.update(repr(image.shape).encode())
    return state.digest()
