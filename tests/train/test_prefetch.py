"""Batches arrive in order, errors travel, and closing never waits for a consumer."""

import threading

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from hybrid_jax.train.parallel.sharding import make_mesh
from hybrid_jax.train.prefetch import DevicePrefetch

ROWS = 16


class Numbers:
    """Batches 0, 1, 2, ...; raises at `fails_at`, ends at `ends_at`."""

    def __init__(self, *, fails_at: int | None = None, ends_at: int | None = None):
        self.number = -1
        self.fails_at = fails_at
        self.ends_at = ends_at
        self.made = threading.Semaphore(0)
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        self.number += 1
        if self.number == self.fails_at:
            raise OSError("disk on fire")
        if self.number == self.ends_at:
            raise StopIteration
        self.made.release()
        return dict(
            image=np.full((ROWS, 2, 3, 3), self.number, np.uint8),
            mask=np.ones(ROWS, bool),
            skipped=np.full(ROWS, self.number, np.int32),
            faulty=np.arange(ROWS, dtype=np.int32),
        )

    def close(self):
        self.closed = True


@pytest.fixture
def sharding() -> NamedSharding:
    mesh = make_mesh(dict(data=-1, fsdp=1, tensor=1))
    return NamedSharding(mesh, PartitionSpec("data"))


def test_prefetch_keeps_order_and_counts_what_was_left_out(sharding):
    batches = DevicePrefetch(Numbers(ends_at=7), sharding=sharding, size=2)
    seen = [(int(batch["image"][0, 0, 0, 0]), counts) for batch, counts in batches]
    faulty = sum(range(ROWS))
    assert seen == [(n, dict(skipped=ROWS * n, faulty=faulty)) for n in range(7)]
    batches.close()


def test_prefetch_puts_rows_on_their_devices(sharding):
    batches = DevicePrefetch(Numbers(), sharding=sharding, size=1)
    batch, _ = next(batches)
    batches.close()
    assert batch.keys() == {"image", "mask"}
    assert batch["image"].sharding == sharding
    assert batch["image"].addressable_shards[0].data.shape == (2, 2, 3, 3)
    assert len(batch["image"].sharding.device_set) == jax.device_count()


def test_exception_reaches_the_consumer_after_the_batches_before_it(sharding):
    batches = DevicePrefetch(Numbers(fails_at=2), sharding=sharding, size=3)
    for _ in range(2):
        next(batches)
    with pytest.raises(OSError, match="disk on fire"):
        next(batches)
    batches.close()


def test_ended_stream_stays_ended(sharding):
    batches = DevicePrefetch(Numbers(ends_at=1), sharding=sharding, size=2)
    assert len(list(batches)) == 1
    with pytest.raises(StopIteration):
        next(batches)
    batches.close()


def test_failed_stream_goes_on_failing(sharding):
    batches = DevicePrefetch(Numbers(fails_at=0), sharding=sharding, size=2)
    for _ in range(2):
        with pytest.raises(OSError, match="disk on fire"):
            next(batches)
    batches.close()


@pytest.mark.parametrize("size", [1, 4])
def test_close_returns_while_the_producer_is_blocked(sharding, size):
    numbers = Numbers()
    batches = DevicePrefetch(numbers, sharding=sharding, size=size)
    for _ in range(size + 1):  # the queue is full, one more is in hand
        assert numbers.made.acquire(timeout=60)
    closing = threading.Thread(target=batches.close, daemon=True)
    closing.start()
    closing.join(timeout=60)
    assert not closing.is_alive()
    assert numbers.closed
    assert not batches._thread.is_alive()


def test_prefetch_runs_no_further_ahead_than_its_size(sharding):
    numbers = Numbers()
    batches = DevicePrefetch(numbers, sharding=sharding, size=2)
    for _ in range(3):
        assert numbers.made.acquire(timeout=60)
    assert not numbers.made.acquire(timeout=0.5)
    batches.close()
