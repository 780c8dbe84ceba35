"""`data.train_fraction`: a part of the training examples."""

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example, Source
from hybrid_jax.data.formats.splits import name_hash
from hybrid_jax.errors import BadAnnotationError, BadImageError

# Which examples are taken is a fact of the data, and the same for every seed of a run.
_SEED = 0


class ExampleShare:
    """A share of a source: always the same examples, in the order of the source.

    The examples of a smaller share are among those of a larger one, so that two runs
    differ by what is added alone. Of labeled images the share is taken of each class, by a
    hash of their names, and so whatever the order in which files are listed. Of others, and
    of images without names, it is drawn by their numbers.

    Args:
        source: any.
        fraction: in (0, 1]; at least one example is taken, and one of each class.

    Attributes:
        info: that of the source, with a note.
        share_digest: of the numbers of the examples, by which another choice is told.
    """

    def __init__(self, source: Source, *, fraction: float):
        self._source = source
        if source.info.num_classes:
            self._indices = _of_each_class(_labeled_names(source), fraction)
        else:
            order = np.random.default_rng(_SEED).permutation(len(source))
            self._indices = np.sort(order[: _count(len(source), fraction)])
        numbers = self._indices.astype("<i8").tobytes()
        self.share_digest = hashlib.sha256(numbers).hexdigest()[:16]
        note = (
            f"{len(self):,} of {len(source):,} training examples are used "
            f"(data.train_fraction)"
        )
        self.info: DatasetInfo = dataclasses.replace(
            source.info, notes=(*source.info.notes, note)
        )

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        """Returns an example of the source; raises the same."""
        return self._source[int(self._indices[index])]

    def image_file(self, index: int) -> pathlib.Path | None:
        """Returns the file that `image` is decoded from; None if there is none."""
        image_file = getattr(self._source, "image_file", None)
        return image_file(int(self._indices[index])) if image_file is not None else None

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, see `contracts.Source`; raises the same."""
        annotations = getattr(self._source, "annotations", None)
        if annotations is not None:
            return annotations(int(self._indices[index]))
        example = dict(self[index])
        example["original_hw"] = example.pop("image").shape[:2]
        return example

    def __getattr__(self, name: str) -> Any:
        """Returns what else a source knows, such as which ids its masks hold."""
        if name.startswith("_"):
            raise AttributeError(name)  # asked for before there is a source: a copy
        return getattr(self._source, name)


def _count(total: int, fraction: float) -> int:
    # 0.07 * 100 is a little more than 7.
    return max(1, math.ceil(round(fraction * total, 6)))


def _labeled_names(source: Source) -> Sequence[tuple[int, str]]:
    """Returns the label and the name of every example; reads all of them if it must.

    Those that cannot be read, or whose label is no integer, have the label -1: whether that
    ends a run is decided where the example is used.
    """
    known = getattr(source, "labeled_names", None)
    if known is not None:
        return known()
    read = getattr(source, "annotations", source.__getitem__)
    found = []
    for index in range(len(source)):
        try:
            example = read(index)
        except (BadImageError, BadAnnotationError):
            found.append((-1, str(index)))
        else:
            label = example.get("label")
            number = int(label) if isinstance(label, int | np.integer) else -1
            found.append((number, str(example.get("image_id", index))))
    return found


def _of_each_class(labeled: Sequence[tuple[int, str]], fraction: float) -> np.ndarray:
    """Returns sorted indices: of each class those with the first hashes of their names."""
    by_class: dict[int, list[int]] = {}
    for index, (label, _) in enumerate(labeled):
        by_class.setdefault(label, []).append(index)
    chosen: list[int] = []
    for members in by_class.values():
        members.sort(key=lambda index: name_hash(labeled[index][1]))
        chosen += members[: _count(len(members), fraction)]
    return np.array(sorted(chosen))
