"""What checkpoints scored, and which of them are kept for it."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.train.checkpoints.workdir import write_whole
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.reporting.best_score import LOWER_IS_BETTER

_FILE = "scores.json"


class CheckpointScores:
    """The scores of a run's checkpoints, and Orbax's policy that keeps the best by them.

    Scores that are known when a checkpoint is saved are written with it by Orbax. Those of
    an evaluation that follows the save are attached to it: `scores.json` in its directory.

    Args:
        directory: of the checkpoints.
        keep: newest checkpoints kept.
        best_metric: key of the scores; the best checkpoint by it is kept, too. Empty for
            none.

    Raises:
        UserError: what Orbax has written is damaged.
    """

    def __init__(self, directory: epath.Path, *, keep: int, best_metric: str):
        self._directory = directory
        self._keep = keep
        self.metric = best_metric
        _check_written(directory)
        self._attached: dict[int, Mapping[str, float]] = {}
        for path in directory.glob(f"*/{_FILE}") if directory.exists() else ():
            with contextlib.suppress(ValueError):
                self._attached[int(path.parent.name)] = json.loads(path.read_text())

    def to_save(self, scores: Mapping[str, float] | None) -> dict[str, float] | None:
        """Returns what is written: all scores, so that another metric may be asked later.

        None where there is no score by the metric.
        """
        if scores is None or self.metric not in scores:
            return None
        return {name: float(value) for name, value in scores.items()}

    def attach(self, step: int, scores: dict[str, float]) -> None:
        """Gives a checkpoint on disk its scores; every process must call it alike.

        Raises:
            UserError: they cannot be written.
        """
        self._attached[step] = scores
        path = self._directory / str(step) / _FILE
        try:
            if is_main_process():
                write_whole(path, json.dumps(scores) + "\n")
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}). The checkpoint is intact. "
                f"Free some space or fix the disk, then run the same command again to "
                f"continue."
            ) from error

    def forget(self, step: int) -> None:
        """Drops the scores of a checkpoint that is no longer there."""
        self._attached.pop(step, None)

    def rank(self, scores: Mapping[str, float]) -> float:
        """Returns how good scores are by the metric, higher is better; -inf if none or NaN.

        Raises:
            UserError: there is no such score.
        """
        if not self.metric:
            return -math.inf
        if self.metric not in scores:
            raise UserError(
                f"config.checkpoint.best_metric: {self.metric!r} is not a score of this "
                f"task.{nearest(self.metric, scores)} Known: {', '.join(scores)}; empty "
                f"for none."
            )
        score = scores[self.metric]
        if math.isnan(score):
            return -math.inf  # NaN compares with nothing, and would hide all better ones
        return -score if self.metric in LOWER_IS_BETTER else score

    def best(self, checkpoints: Sequence[Any]) -> tuple[int, float] | None:
        """Returns step and score of the best, the latest of equals; None without scores.

        Args:
            checkpoints: with `step` and `metrics`, as Orbax describes them.
        """
        scored = []
        for checkpoint in checkpoints:
            scores = self._of(checkpoint)
            if scores and self.metric in scores:
                scored.append((self.rank(scores), checkpoint.step, scores[self.metric]))
        return max(scored)[1:] if scored else None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns for each checkpoint, oldest first, whether it is kept; Orbax asks."""
        del context
        kept = {checkpoint.step for checkpoint in checkpoints[-self._keep :]}
        best = self.best(checkpoints)
        if best is not None:
            kept.add(best[0])
        return [checkpoint.step in kept for checkpoint in checkpoints]

    def _of(self, checkpoint: Any) -> Mapping[str, float] | None:
        return self._attached.get(checkpoint.step, checkpoint.metrics)


def _check_written(directory: epath.Path) -> None:
    """Refuses damaged scores, which would end Orbax's constructor in a bare JSON error."""
    for path in directory.glob("*/metrics/metrics") if directory.exists() else ():
        if not path.parent.parent.name.isdigit():
            continue  # a checkpoint that was not finished
        try:
            json.loads(path.read_text())
        except ValueError as error:
            raise UserError(
                f"{path} is not the JSON of scores ({error}). Restore it from a copy, or "
                f"remove it: the checkpoint is then one without scores."
            ) from error
