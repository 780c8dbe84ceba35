"""The annotations of a source, read once as far as memory allows."""

import collections
from typing import Any

import numpy as np

from hybrid_jax.contracts import Example, Source
from hybrid_jax.tasks.ground_truth import ground_truth

LARGEST_BYTES = 2**30


class KnownTruth:
    """A source whose annotations were asked for before: each pass asks for all of them.

    Args:
        source: with boxes, masks or labels.
        largest_bytes: of the arrays that are remembered; the longest unused go first.

    Attributes:
        info: that of the source.
    """

    def __init__(self, source: Source, *, largest_bytes: int = LARGEST_BYTES):
        self._source = source
        self._largest_bytes = largest_bytes
        self._bytes = 0
        self._known: collections.OrderedDict[int, Example] = collections.OrderedDict()
        self.info = source.info

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        return self._source[index]

    def annotations(self, index: int) -> Example:
        """Returns the example without `image`, see `contracts.Source`; raises the same."""
        if index in self._known:
            self._known.move_to_end(index)
            return self._known[index]
        example = ground_truth(self._source, index)
        self._known[index] = example
        self._bytes += _size(example)
        while self._bytes > self._largest_bytes and len(self._known) > 1:
            self._bytes -= _size(self._known.popitem(last=False)[1])
        return example


def _size(example: Example) -> int:
    arrays: list[Any] = [x for x in example.values() if isinstance(x, np.ndarray)]
    return sum(array.nbytes for array in arrays)
