"""Saving and restoring a run: the only file that speaks to Orbax.

Orbax writes a checkpoint into a temporary directory and renames it when it is whole, so a
process killed at any moment leaves the checkpoints before it untouched.
"""

import contextlib
import logging
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.older_layouts import as_saved, brought_up, older_shape
from hybrid_jax.train.checkpoints.scores import CheckpointScores
from hybrid_jax.train.measuring.finite_check import NonFiniteError
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.state import TrainState, path_name


class Checkpoints:
    """The checkpoints of one workdir: the newest few, and the best by a metric.

    Args:
        workdir: of the run; checkpoints live in `checkpoints/<step>`.
        keep: newest checkpoints kept.
        best_metric: key of the scores handed to `save` or `attach`; the best by it is
            kept, too: the highest, or of `loss` and `ece` the lowest. Empty for none.
        read_only: for evaluation; nothing is moved or cleaned up.

    Raises:
        UserError: the scores of a checkpoint are damaged.
    """

    def __init__(
        self, workdir: epath.Path, *, keep: int, best_metric: str, read_only: bool = False
    ):
        self.directory = workdir / "checkpoints"
        self.scores = CheckpointScores(self.directory, keep=keep, best_metric=best_metric)
        self.read_only = read_only
        self._pending: int | None = None
        self._intact: list[int] = []  # on disk whatever becomes of the pending one
        self._best_rank: float | None = None
        # Orbax logs pages of tracebacks for what it then raises, too.
        logging.getLogger("absl").addFilter(_not_from_orbax)
        self._orbax = ocp.training.Checkpointer(
            self.directory,
            preservation_policy=self.scores,
            cleanup_tmp_directories=not read_only,
        )

    def steps(self) -> list[int]:
        """Returns the steps saved, oldest first."""
        return [checkpoint.step for checkpoint in self._orbax.checkpoints]

    def saved_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the arrays' shapes by path in the newest checkpoint that tells them.

        {} if none does; `restore` says which ones are damaged.
        """
        for step in self.steps()[::-1]:
            with contextlib.suppress(Exception):  # Orbax raises many kinds
                return shapes_by_path(self._described(step))
        return {}

    def best(self) -> tuple[int, float] | None:
        """Returns step and score of the best checkpoint, or None if none was scored."""
        return self.scores.best(self._orbax.checkpoints)

    def is_best(self, scores: Mapping[str, float]) -> bool:
        """Whether scores are better than all before, which are from then on compared too.

        They are remembered and not asked of the disk: all processes must answer alike.

        Raises:
            UserError: there is no such score as the metric.
        """
        if self._best_rank is None:
            best = self.best()
            scored = {self.scores.metric: best[1]} if best else None
            self._best_rank = self.scores.rank(scored) if scored else -math.inf
        rank = self.scores.rank(scores)
        is_better, self._best_rank = rank > self._best_rank, max(rank, self._best_rank)
        return is_better

    def save(
        self, step: int, state: TrainState, *, scores: Mapping[str, float] | None = None
    ) -> None:
        """Starts writing the state; the buffers may be donated as soon as this returns.

        Raises:
            UserError: this checkpoint, or the one before it, could not be written.
        """
        metrics: dict[str, Any] | None = self.scores.to_save(scores)
        with self._explained():
            self._orbax.wait()
            # Now: Orbax soon counts out those it removes once this one is whole.
            self._pending, self._intact = step, self.steps()
            self._orbax.save_async(step, state, force=True, metrics=metrics)

    def attach(self, step: int, scores: Mapping[str, float]) -> None:
        """Gives a checkpoint that was saved before its evaluation the scores of that.

        What is kept is then the same as if they had been known when it was saved.

        Raises:
            UserError: as `save`, or the scores cannot be written.
        """
        self.wait()
        metrics = self.scores.to_save(scores)
        if metrics is None:
            return
        self.scores.attach(step, metrics)
        checkpoints = self._orbax.checkpoints
        kept = self.scores.should_preserve(checkpoints, context=None)
        for checkpoint, is_kept in zip(checkpoints, kept, strict=True):
            if not is_kept:
                self._orbax.delete(checkpoint.step)

    def wait(self) -> None:
        """Returns when everything is on disk; raises like `save`."""
        with self._explained():
            self._orbax.wait()
            self._pending = None

    def close(self) -> None:
        """Waits, then lets go of the directory; raises like `save`."""
        try:
            self.wait()
        finally:
            with contextlib.suppress(Exception):  # `wait` has already said what failed
                self._orbax.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        """Closes; leaves at once if other processes may not have met the same error.

        To finish a checkpoint takes all of them, and they may be waiting for this one.
        """
        several = jax.process_count() > 1
        if error is None or not several or isinstance(error, NonFiniteError):
            self.close()
        if several and isinstance(error, NonFiniteError):  # which is the same everywhere
            multihost_utils.sync_global_devices("last checkpoint written")

    def restore(
        self, shapes: TrainState, shardings: TrainState, *, which: str = "last"
    ) -> TrainState | None:
        """Loads a checkpoint, sharded as asked; None if the workdir has none.

        An unreadable one is reported and the one before it used; in training the
        unreadable one is then moved to `checkpoints_unreadable/`. If none is readable,
        nothing is moved.

        Args:
            shapes: the state's shapes and dtypes.
            shardings: where each leaf goes; need not be the mesh it was saved from.
            which: "last", or "best" by the metric (the last if none was scored).

        Raises:
            UserError: checkpoints exist, but none is readable or they hold another state.
        """
        steps = self.steps()[::-1]
        best = self.best() if which == "best" else None
        if best is not None:
            steps = [best[0], *(step for step in steps if step != best[0])]
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=sharding
            ),
            shapes,
            shardings,
        )
        unreadable = []
        for step in steps:
            state = self._load(step, shapes, target)
            if state is not None:
                self._set_aside(unreadable)
                return state
            unreadable.append(step)
        if unreadable:
            raise UserError(
                f"{self.directory}: none of the checkpoints {sorted(unreadable)} can be "
                f"read. Nothing was changed. Restore them from a copy, or start again with "
                f"another --workdir."
            )
        return None

    def _load(self, step: int, shapes: TrainState, target: TrainState) -> TrainState | None:
        """Returns the state, or None in every process if any of them cannot read it."""
        state = None
        try:
            saved = self._described(step)
            self._check_shapes(step, saved, shapes)
            asked = as_saved(target, shapes_by_path(saved))
            state = brought_up(self._orbax.load(step, asked), target)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - Orbax raises many kinds
            print(f"checkpoint of step {step} is unreadable ({_reason(error)})", flush=True)
        everywhere = multihost_utils.process_allgather(np.array(state is not None))
        return state if everywhere.all() else None

    def _described(self, step: int) -> Any:
        """Returns a tree of what a checkpoint's arrays are; raises if it does not tell."""
        described = self._orbax.metadata(step).metadata
        if described is None:
            raise ValueError("what its arrays are cannot be read")
        return described

    def _check_shapes(self, step: int, saved: Any, shapes: TrainState) -> None:
        """Orbax answers a foreign target with a bare IndexError; this one says what."""
        found, wanted = shapes_by_path(saved), shapes_by_path(shapes)
        older = {path: older_shape(path, shape) for path, shape in wanted.items()}
        differing = sorted(
            path
            for path in found.keys() | wanted.keys()
            if found.get(path) not in (wanted.get(path), older.get(path))
        )
        if differing:
            shown = "\n".join(
                f"    {path}: saved {found.get(path, 'nothing')}, "
                f"expected {wanted.get(path, 'nothing')}"
                for path in differing[:5]
            )
            raise UserError(
                f"{self.directory / str(step)} holds the state of another model or "
                f"optimizer; {len(differing)} arrays differ, e.g.\n{shown}\n"
                f"  Use the config it was trained with, or another --workdir."
            )

    def _set_aside(self, steps: list[int]) -> None:
        """Moves checkpoints out of the way of those that will be written in their place."""
        if self.read_only or not steps:
            return
        if is_main_process():
            aside = self.directory.parent / "checkpoints_unreadable"
            aside.mkdir(parents=True, exist_ok=True)
            for step in steps:
                target = aside / str(step)
                number = 1
                while target.exists():
                    number += 1
                    target = aside / f"{step}.{number}"
                (self.directory / str(step)).rename(target)
                print(f"checkpoint of step {step} was moved to {target}", flush=True)
        for step in steps:
            self.scores.forget(step)
        multihost_utils.sync_global_devices("unreadable checkpoints set aside")
        self._orbax.reload()

    @contextlib.contextmanager
    def _explained(self):
        """Says what a failed write means for the run."""
        try:
            yield
        except Exception as error:
            raise UserError(
                f"{self.directory}: the checkpoint of step {self._pending} could not be "
                f"written ({_reason(error)}). Earlier checkpoints are intact: "
                f"{self._intact or 'there are none'}. Free some space or fix the disk, "
                f"then run the same command again to continue from there."
            ) from error


def _reason(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def shapes_by_path(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a tree's arrays, or of what stands for them, by their paths."""
    return {
        path_name(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if hasattr(leaf, "shape")
    }
