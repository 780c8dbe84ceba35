"""Exact scores of a whole split, over any number of devices and processes."""

import collections
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from hybrid_jax.contracts import Scorer, Source, Task
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.reading import reading_as
from hybrid_jax.train.parallel.distributed import (
    from_main_process,
    is_main_process,
    sum_over_processes,
)
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import TrainState

# Batches whose sums wait to be fetched: a few keep the device busy. Predictions may be
# whole maps at the original resolution, of which two are enough.
SUMS_IN_FLIGHT, PREDICTIONS_IN_FLIGHT = 8, 2


class Watcher(Protocol):
    """Sees the predictions of an evaluation on the main process, batch by batch."""

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        index: np.ndarray,
        *,
        scorer: Scorer | None,
    ) -> None:
        """Sees the rows of a batch that are not padding, once `scorer` has them."""
        ...


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
    written: epath.Path | None = None,
    watchers: Sequence[Watcher] = (),
) -> dict[str, float]:
    """Returns the task's scores over every example of `source`.

    The averaged parameters are used where the state has them. Rows that pad the last batch
    are masked, never counted; sums are added in float64 on the host.

    Args:
        eval_step: jitted `(params, mutable, batch) -> (sums, predictions)`, replicated.
        task: turns the sums into scores, and its scorer the predictions.
        data: the `data` branch of a config.
        batch_size: rows over all processes, spread by `sharding`.
        progress: whether to show a bar where there is a terminal.
        written: path without suffix beside which the scorer puts results for other tools.
        watchers: see the predictions, too; none on processes other than the main one.
    """
    params = state.eval_params
    rows = eval_batches(
        source,
        data=data,
        targets=task.targets,
        batch_size=batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    batches = DevicePrefetch(rows, sharding=sharding, size=data.prefetch)
    hidden = not (progress and is_main_process() and sys.stderr.isatty())
    scorer = task.scorer(source) if is_main_process() else None
    gathered = Gathered(scorer, watchers=watchers)
    steps = -(-len(source) // batch_size)
    in_flight = SUMS_IN_FLIGHT if scorer is None else PREDICTIONS_IN_FLIGHT
    waiting: list = []
    counts: collections.Counter[str] = collections.Counter()
    # Scorers read the headers of images.
    with reading_as(data), contextlib.closing(batches):
        bar = tqdm(batches, "evaluating", total=steps, leave=False, disable=hidden)
        for batch, more in bar:
            counts.update(more)
            waiting.append(eval_step(params, state.mutable, batch))
            if len(waiting) > in_flight:
                gathered.add(*waiting.pop(0))
        for results in waiting:
            gathered.add(*results)
        scores = task.summarize(gathered.sums)
        scores |= from_main_process(gathered.scores)
    if written is not None and scorer is not None:
        scorer.write(written)
    left_out = {name: sum_over_processes(counts[name]) for name in sorted(counts)}
    return scores | {name: count for name, count in left_out.items() if count}


class Gathered:
    """Sums and predictions of the batches so far; predictions on the main process.

    Args:
        scorer: of the predictions; None if the sums are all, or on another process.
        watchers: see the predictions after it.
    """

    def __init__(self, scorer: Scorer | None, *, watchers: Sequence[Watcher] = ()):
        self.sums: dict[str, np.ndarray] = {}
        self.scorer = scorer
        self._watchers = watchers

    def add(
        self, sums: Mapping[str, jax.Array], predictions: Mapping[str, jax.Array]
    ) -> None:
        """Adds one batch's; waits until the devices have it."""
        for name, value in jax.device_get(sums).items():
            self.sums[name] = self.sums.get(name, 0.0) + np.asarray(value, np.float64)
        if self.scorer is None and not self._watchers:
            return
        rows = jax.device_get(predictions)
        real = rows.pop("mask")
        rows = {name: value[real] for name, value in rows.items()}
        index = rows.pop("index")
        known = {name: rows.pop(name) for name in ("true_label",) if name in rows}
        if self.scorer is not None:
            self.scorer.add(rows, index)
        for watcher in self._watchers:
            watcher.add(rows | known, index, scorer=self.scorer)

    def scores(self) -> dict[str, float]:
        """Returns the scorer's scores, none without one."""
        return {} if self.scorer is None else self.scorer.scores()
