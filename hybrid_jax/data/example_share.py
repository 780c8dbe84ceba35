"""`data.train_fraction`: a part of the training examples."""

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example, Source

# Which examples are taken is a fact of the data, and the same for every seed of a run.
_SEED = 0


class ExampleShare:
    """A share of a source: always the same examples, in the order of the source.

    The examples of a smaller share are among those of a larger one, so that two runs
    differ by what is added alone.

    Args:
        source: any.
        fraction: in (0, 1]; at least one example is taken.

    Attributes:
        info: that of the source, with a note.
    """

    def __init__(self, source: Source, *, fraction: float):
        total = len(source)
        # 0.07 * 100 is a little more than 7.
        count = max(1, math.ceil(round(fraction * total, 6)))
        order = np.random.default_rng(_SEED).permutation(total)
        self._source = source
        self._indices = np.sort(order[:count])
        note = f"{count:,} of {total:,} training examples are used (data.train_fraction)"
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
