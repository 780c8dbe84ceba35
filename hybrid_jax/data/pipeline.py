"""Sources to batches, on the host: shuffled, transformed, split over processes.

The training batch of step t is a function of the seed and t alone. So a run that starts
again at step t, on another number of processes, workers or threads, sees the same data.
"""

import math
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from typing import cast

import grain
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from hybrid_jax.contracts import Batch, BatchStream, Source
from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.errors import UserError

# Rows that one thread collates at a time. More make bursts: all threads finish a large
# batch together, after nothing for long. Fewer cost Python time for small images.
_PIECE_ROWS = 32


def train_batches(
    source: Source,
    *,
    data: ConfigDict,
    targets: Sequence[str] = ("label",),
    batch_size: int,
    seed: int,
    start_step: int,
    process_index: int = 0,
    process_count: int = 1,
) -> BatchStream:
    """Returns this process's rows of the endless global batches from `start_step` on.

    Every epoch is shuffled anew; batches cross the borders of epochs, so none is short
    and data sets may be smaller than a batch. Process p gets the p-th of `process_count`
    equal runs of rows. For an example whose image or annotation cannot be read the next
    one is taken, counted by `skipped`, if `data.on_bad_image` or `on_bad_annotation` is
    "skip".

    Args:
        source: the training split.
        data: the resolved `config.data`.
        targets: of "label", "boxes" and "segmentation".
        batch_size: rows over all processes.
        seed: of the order and of the augmentation.
        start_step: number of the first batch, from 0.

    Returns:
        A stream of batches with b = batch_size / process_count rows: the keys that
        `contracts.Batch` names for the targets, every `mask` True.

    Raises:
        UserError: an empty split, or a batch that the processes cannot share equally.
            Iterating raises it too, for examples that cannot be read.
    """
    _check_shares(source, batch_size=batch_size, process_count=process_count)
    loader = ExampleLoader(source, data=data, targets=targets)
    # Random steps come before the rows are shared out: Grain seeds them by position.
    order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    rows = order.random_map(loader.train)
    local_rows = _local_rows(
        rows,
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
    )
    local_batch_size = batch_size // process_count
    return GrainBatches(
        local_rows[start_step * local_batch_size :],
        batch_size=local_batch_size,
        data=data,
    )


def eval_batches(
    source: Source,
    *,
    data: ConfigDict,
    targets: Sequence[str] = ("label",),
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> BatchStream:
    """Returns this process's rows of all examples, once, in order.

    Each process gets the same number of batches, ceil(len(source) / batch_size). Rows
    beyond the end are zeros with `mask` False; so are examples whose image or annotation
    cannot be read, counted by `skipped`, if `data.on_bad_image` or `on_bad_annotation` is
    "skip".

    Args:
        source: the split to evaluate.
        data: the resolved `config.data`.
        targets: of "label", "boxes" and "segmentation".
        batch_size: rows over all processes.

    Returns:
        A stream of batches with the keys and types of `train_batches`, and `index`.

    Raises:
        UserError: as for `train_batches`.
    """
    _check_shares(source, batch_size=batch_size, process_count=process_count)
    loader = ExampleLoader(source, data=data, targets=targets)
    num_rows = math.ceil(len(source) / batch_size) * batch_size
    local_rows = _local_rows(
        grain.MapDataset.range(num_rows).map(loader.evaluate),
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
    )
    return GrainBatches(local_rows, batch_size=batch_size // process_count, data=data)


def _local_rows(
    rows: grain.MapDataset, *, batch_size: int, process_index: int, process_count: int
) -> grain.MapDataset:
    """Returns the rows of this process; all of them where there is one process."""
    if process_count == 1:
        return rows
    return ProcessRows(
        rows,
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
    )


class ProcessRows(grain.MapDataset):
    """The rows of every global batch that belong to one process.

    Args:
        parent: the rows of the global batches, one after another.
        batch_size: rows of a global batch.
    """

    def __init__(
        self,
        parent: grain.MapDataset,
        *,
        batch_size: int,
        process_index: int,
        process_count: int,
    ):
        super().__init__(parent)
        self._batch_size = batch_size
        self._local_batch_size = batch_size // process_count
        self._first_row = process_index * self._local_batch_size

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * self._local_batch_size

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, row = divmod(index, self._local_batch_size)
        return self._parent[batch * self._batch_size + self._first_row + row]

    def _getitems(self, indices):
        return [self[index] for index in indices]


class GrainBatches:
    """A `BatchStream` over rows that Grain reads ahead, in threads or in processes.

    Args:
        rows: the rows of the batches, one after another; a multiple of `batch_size`.
        batch_size: rows of a batch.
        data: the resolved `config.data`, for `workers` and `threads`.
    """

    def __init__(self, rows: grain.MapDataset, *, batch_size: int, data: ConfigDict):
        piece_rows = max(n for n in range(1, _PIECE_ROWS + 1) if batch_size % n == 0)
        self._pieces_per_batch = batch_size // piece_rows
        threads = data.threads or min(16, os.cpu_count() or 1)
        if data.workers:
            threads = max(1, threads // data.workers)
        two_batches = 2 * self._pieces_per_batch
        ahead = math.ceil(two_batches / max(1, data.workers))
        pieces = rows.batch(piece_rows, drop_remainder=True).to_iter_dataset(
            grain.ReadOptions(
                num_threads=threads, prefetch_buffer_size=max(ahead, 2 * threads)
            )
        )
        if data.workers:
            _let_grain_read_flags()
            pieces = pieces.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=data.workers, per_worker_buffer_size=ahead
                ),
                worker_init_fn=_end_with_parent,
            )
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Returns the next batch.

        Raises:
            UserError: an example of it cannot be read; names the file.
        """
        try:
            pieces = [next(self._pieces) for _ in range(self._pieces_per_batch)]
        except UserError:
            self.close()  # the other workers would read on for nobody
            raise
        if len(pieces) == 1:
            return pieces[0]
        batch = {key: np.concatenate([p[key] for p in pieces]) for key in pieces[0]}
        return cast(Batch, batch)

    def close(self) -> None:
        """Ends the threads and processes; the stream gives nothing more."""
        self._pieces.close()


def _let_grain_read_flags() -> None:
    """Lets Grain's workers read its absl flags in programs that never parsed any.

    Besides `main`, nothing but this touches flags: Grain, not this library, reads them, and
    a notebook or a test that asks for workers has no `main` to parse them.
    """
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _check_shares(source: Source, *, batch_size: int, process_count: int) -> None:
    if not len(source):
        raise UserError("the split has no examples; nothing can be read from it.")
    if batch_size % process_count:
        raise UserError(
            f"batch size {batch_size} cannot be shared equally by {process_count} "
            f"processes. Choose a multiple of {process_count}."
        )


def _end_with_parent(worker: int, workers: int) -> None:
    """Makes this worker end as soon as its parent has; called in each by Grain.

    Grain ends its workers when an iterator is closed. A parent that is killed, or that XLA
    aborts because another process of the run is dead, closes nothing; they would wait for
    ever then and keep their memory.

    Args:
        worker: index of this one.
        workers: how many there are.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)
