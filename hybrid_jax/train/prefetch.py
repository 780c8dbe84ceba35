"""Moving host batches to the devices while the step before them runs."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from typing import cast

import jax
import numpy as np

from hybrid_jax.contracts import COUNTERS, Batch, BatchStream


class DevicePrefetch:
    """Iterates over `(device batch, counts)`, `size` batches ahead.

    The counts are this process's sums of the batch's keys in `contracts.COUNTERS`.

    Args:
        batches: host-local batches; closed with this object.
        sharding: of the global batch; the host's rows are its own part of it.
        size: batches kept ready on the devices.

    Attributes:
        seconds_waited: total time `next` has spent waiting for data.
    """

    def __init__(self, batches: BatchStream, *, sharding: jax.sharding.Sharding, size: int):
        self.seconds_waited = 0.0
        self._batches = batches
        self._sharding = sharding
        self._ready: queue.Queue = queue.Queue(maxsize=size)
        self._closed = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[dict[str, jax.Array], dict[str, int]]]:
        return self

    def __next__(self) -> tuple[dict[str, jax.Array], dict[str, int]]:
        if self._end is not None:  # nobody fills the queue any more
            raise self._end
        started = time.perf_counter()
        item = self._ready.get()
        self.seconds_waited += time.perf_counter() - started
        if isinstance(item, BaseException):
            self._end = item
            raise item
        return item

    def close(self) -> None:
        """Stops the thread and the pipeline behind it."""
        self._closed.set()
        self._end = StopIteration()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue
        self._batches.close()

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(self._to_device(batch)):
                    return
            self._put(StopIteration())
        except BaseException as error:  # noqa: BLE001 - handed to the consumer
            self._put(error)

    def _put(self, item) -> bool:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _to_device(self, batch: Batch) -> tuple[dict[str, jax.Array], dict[str, int]]:
        fields = cast(Mapping[str, np.ndarray], batch)  # all keys are treated alike
        counts = {name: int(np.sum(fields[name])) for name in COUNTERS if name in fields}
        arrays = {
            name: jax.make_array_from_process_local_data(
                self._sharding,
                value,
                (len(value) * jax.process_count(), *value.shape[1:]),
            )
            for name, value in fields.items()
            if name not in COUNTERS
        }
        return arrays, counts
