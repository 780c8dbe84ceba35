"""Exact scores of a whole split, over any number of devices and processes."""

import sys
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from hybrid_jax.contracts import Source, Task
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.train.distributed import is_main_process, sum_over_processes
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import TrainState

# Device sums waiting to be fetched; a few keep the device busy, many would keep batches.
_IN_FLIGHT = 8


def evaluate_split(
    eval_step: Callable,
    state: TrainState,
    source: Source,
    *,
    task: Task,
    data: ConfigDict,
    batch_size: int,
    sharding: jax.sharding.Sharding,
    progress: bool,
) -> dict[str, float]:
    """Returns the task's scores over every example of `source`.

    The averaged parameters are used where the state has them. Rows that pad the last batch
    are masked, never counted; sums are added in float64 on the host.

    Args:
        eval_step: jitted `(params, mutable, batch) -> sums`, its result replicated.
        task: turns the sums into scores.
        data: the `data` branch of a config.
        batch_size: rows over all processes.
        sharding: of a batch.
        progress: whether to show a bar where there is a terminal.
    """
    params = state.params if state.ema is None else state.ema
    batches = DevicePrefetch(
        eval_batches(
            source,
            data=data,
            batch_size=batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
        sharding=sharding,
        size=data.prefetch,
    )
    shown = progress and is_main_process() and sys.stderr.isatty()
    total: dict[str, np.ndarray] = {}
    waiting: list = []
    skipped = 0
    try:
        steps = -(-len(source) // batch_size)
        for batch, bad in tqdm(
            batches, total=steps, desc="evaluating", leave=False, disable=not shown
        ):
            skipped += bad
            waiting.append(eval_step(params, state.mutable, batch))
            if len(waiting) > _IN_FLIGHT:
                _add(total, waiting.pop(0))
        for sums in waiting:
            _add(total, sums)
    finally:
        batches.close()
    skipped = sum_over_processes(skipped)
    scores = task.summarise(total)
    return scores | ({"skipped": skipped} if skipped else {})


def _add(total: dict[str, np.ndarray], sums: dict[str, jax.Array]) -> None:
    for name, value in jax.device_get(sums).items():
        total[name] = total.get(name, 0.0) + np.asarray(value, np.float64)
