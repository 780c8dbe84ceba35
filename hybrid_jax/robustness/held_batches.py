"""The batches of a split for one reading after another."""

import math
from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from hybrid_jax.contracts import Batch, BatchStream

LARGEST_HELD_BYTES = 2 * 2**30


class HeldBatches:
    """A split that is read from its source once if it is small enough, else every time.

    Args:
        read: starts a reading of the source.
        held: whether all batches stay in memory.
    """

    def __init__(self, read: Callable[[], BatchStream], *, held: bool):
        self._read = read
        self.held = held
        self._batches: list[Batch] | None = None

    def stream(self) -> BatchStream:
        """Returns all batches, to be closed."""
        if self._batches is not None:
            return _Replay(iter(self._batches))
        return _Recording(self._read(), keep=self._keep if self.held else None)

    def _keep(self, batches: list[Batch]) -> None:
        self._batches = batches


class _Replay:
    """Batches that are in memory."""

    def __init__(self, batches: Iterator[Batch]):
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self._batches

    def close(self) -> None:
        """Does nothing."""


class _Recording:
    """Batches from the source, which are handed over when the last one has been read."""

    def __init__(self, batches: BatchStream, *, keep: Callable[[list[Batch]], None] | None):
        self._batches = batches
        self._keep = keep

    def __iter__(self) -> Iterator[Batch]:
        if self._keep is None:
            yield from self._batches
            return
        read = []
        for batch in self._batches:
            read.append(batch)
            yield batch
        self._keep(read)

    def close(self) -> None:
        """Ends the reading."""
        self._batches.close()


def fits_in_memory(count: int, *, data: ConfigDict, process_count: int) -> bool:
    """Whether a process may hold its rows of `count` examples.

    Args:
        data: the resolved `config.data` of evaluation; images and masks are counted.
    """
    height, width = data.image_size
    return math.ceil(count / process_count) * height * width * 4 <= LARGEST_HELD_BYTES
