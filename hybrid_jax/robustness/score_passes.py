"""Scores of a split under several passes, in one reading of the data."""

import collections
import contextlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from hybrid_jax.contracts import BatchStream
from hybrid_jax.data.reading import reading_as
from hybrid_jax.robustness.changed_batch import BatchChanger
from hybrid_jax.robustness.moving.known_truth import KnownTruth
from hybrid_jax.robustness.moving.moved_truth import MovedTruth
from hybrid_jax.robustness.passes import CLEAN, Pass
from hybrid_jax.robustness.suites import SUITES
from hybrid_jax.train.evaluation import PREDICTIONS_IN_FLIGHT, Gathered
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.distributed import (
    from_main_process,
    is_main_process,
    sum_over_processes,
)
from hybrid_jax.train.parallel.sharding import replicated
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import TrainState


class PassScorer:
    """Scores passes over one split.

    Args:
        experiment: the restored run.
        state: its state.
        truth: annotations of the split.

    Attributes:
        experiment: as given.
    """

    def __init__(self, experiment: Experiment, state: TrainState, truth: KnownTruth):
        self.experiment = experiment
        self._state = state
        self._truth = truth
        self._eval_step = experiment.jitted_eval_step()
        self._changed = BatchChanger(experiment, state)
        # Where an image lies in a batch, for every process to read.
        everywhere = replicated(experiment.mesh)
        self._everywhere = jax.jit(lambda rows: rows, out_shardings=everywhere)
        self._scales_yx: dict[int, np.ndarray] = {}

    def scores(
        self, stream: BatchStream, passes: Sequence[Pass], *, advance: Callable[[], object]
    ) -> dict[Pass, dict[str, float]]:
        """Returns the task's scores of every pass over every example.

        Each batch is sent to the devices once, then changed there in every way. So memory
        holds the sums or the predictions of all these passes until the end.

        Args:
            stream: the batches of the split; closed at the end.
            passes: in the order of the result.
            advance: called after each batch of each pass.
        """
        experiment, state = self.experiment, self._state
        batches = DevicePrefetch(
            stream,
            sharding=experiment.batch_sharding,
            size=experiment.config.data.prefetch,
        )
        gathered = {each: self._gathered(each) for each in passes}
        moving = any(map(_moves, passes))
        waiting: list = []
        counts: collections.Counter[str] = collections.Counter()
        # Scorers read the headers of images.
        reading = reading_as(experiment.eval_data)
        with reading, contextlib.closing(batches):
            for batch, more in batches:
                counts.update(more)
                if moving:
                    self._note_scales(batch)
                for each in passes:
                    rows = self._changed(batch, each)
                    results = self._eval_step(state.eval_params, state.mutable, rows)
                    waiting.append((gathered[each], results))
                    if len(waiting) > PREDICTIONS_IN_FLIGHT:
                        collected, results = waiting.pop(0)
                        collected.add(*results)
                    advance()
            for collected, results in waiting:
                collected.add(*results)
            left_out = {name: sum_over_processes(counts[name]) for name in sorted(counts)}
            left_out = {name: count for name, count in left_out.items() if count}
            return {
                each: self._summary(found) | left_out for each, found in gathered.items()
            }

    def _summary(self, gathered: Gathered) -> dict[str, float]:
        scores = self.experiment.task.summarize(gathered.sums)
        return scores | from_main_process(gathered.scores)

    def _gathered(self, which: Pass) -> Gathered:
        if not is_main_process():
            return Gathered(None)
        truth: KnownTruth | MovedTruth = self._truth
        if _moves(which):
            motion = SUITES.get(which.suite)().motion(which.line, which.strength)
            truth = MovedTruth(self._truth, motion, scales_yx=self._scales_yx)
        return Gathered(self.experiment.task.scorer(truth))

    def _note_scales(self, batch: Mapping[str, jax.Array]) -> None:
        """Remembers the scale of each example, which `MovedTruth` needs."""
        if "scale_yx" not in batch:
            return
        names = ("index", "mask", "scale_yx")
        rows = self._everywhere({name: batch[name] for name in names})
        if is_main_process():
            rows = jax.device_get(rows)
            real = rows["mask"]
            indices = rows["index"][real].tolist()
            self._scales_yx.update(zip(indices, rows["scale_yx"][real], strict=True))


def _moves(which: Pass) -> bool:
    return which != CLEAN and SUITES.get(which.suite).moves
