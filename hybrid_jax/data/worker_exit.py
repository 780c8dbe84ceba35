"""Worker processes end with the process they read for, however that ended."""

import multiprocessing
import os
import threading


def end_with_parent(worker: int, workers: int) -> None:
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
