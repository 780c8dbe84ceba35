"""A source whose masks start at void and are made to start at the first class."""

import dataclasses

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.checked_source import CheckedSource


class ReducedSource:
    """Masks in which 0 has become void and 1, 2, ... the classes 0, 1, ...

    ADE20K's masks are of this kind: 0 stands for whatever is not among the 150 classes.
    Void stays void. The names lose the first one.

    Args:
        source: with masks.
    """

    def __init__(self, source: CheckedSource):
        self._source = source
        self.info: DatasetInfo = dataclasses.replace(
            source.info, segmentation_names=source.info.segmentation_names[1:]
        )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        """Returns example `index`; raises what the source raises."""
        return _reduced(self._source[index])

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`; raises what the source raises."""
        return _reduced(self._source.annotations(index))


def _reduced(example: Example) -> Example:
    mask = example["segmentation"]
    # Counting down in bytes takes 0 to 255 by itself.
    reduced = np.where(mask == VOID, mask, mask - np.uint8(1))
    return {**example, "segmentation": reduced}
