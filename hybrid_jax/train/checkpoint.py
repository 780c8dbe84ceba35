"""Saving and restoring a run: the only file that speaks to Orbax.

Orbax writes a checkpoint into a temporary directory and renames it when it is whole, so a
process killed at any moment leaves the checkpoints before it untouched.
"""

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from hybrid_jax.errors import UserError
from hybrid_jax.train.distributed import is_main_process
from hybrid_jax.train.state import TrainState, path_name


class Checkpoints:
    """The checkpoints of one workdir: the newest few, and the best by a metric.

    Args:
        workdir: of the run; checkpoints live in `checkpoints/<step>`.
        keep: newest checkpoints kept.
        best_metric: key of the scores handed to `save`; the highest is kept, too.
        read_only: for evaluation; nothing is moved or cleaned up.
    """

    def __init__(
        self, workdir: epath.Path, *, keep: int, best_metric: str, read_only: bool = False
    ):
        self.directory = workdir / "checkpoints"
        self.best_metric = best_metric
        self.read_only = read_only
        self._pending: int | None = None
        # Orbax logs pages of tracebacks for what it then raises, too.
        logging.getLogger("absl").addFilter(_not_from_orbax)
        policies = ocp.training.preservation_policies
        kept = [policies.LatestN(keep)]
        if best_metric:
            kept.append(
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics[best_metric],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self._orbax = ocp.training.Checkpointer(
            self.directory,
            preservation_policy=policies.AnyPreservationPolicy(kept),
            cleanup_tmp_directories=not read_only,
        )

    def steps(self) -> list[int]:
        """Returns the steps saved, oldest first."""
        return [checkpoint.step for checkpoint in self._orbax.checkpoints]

    def best(self) -> tuple[int, float] | None:
        """Returns step and score of the best checkpoint, or None if none was scored."""
        scored = [
            (checkpoint.metrics[self.best_metric], checkpoint.step)
            for checkpoint in self._orbax.checkpoints
            if checkpoint.metrics and self.best_metric in checkpoint.metrics
        ]
        if not scored:
            return None
        score, step = max(scored)
        return step, score

    def save(
        self, step: int, state: TrainState, *, scores: Mapping[str, float] | None = None
    ) -> None:
        """Starts writing the state; the buffers may be donated as soon as this returns.

        Raises:
            UserError: this checkpoint, or the one before it, could not be written.
        """
        metric = None
        if scores is not None and self.best_metric in scores:
            metric = {self.best_metric: float(scores[self.best_metric])}
        with self._explained():
            self._orbax.wait()
            self._pending = step
            self._orbax.save_async(step, state, force=True, metrics=metric)

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

    def restore(
        self, shapes: TrainState, shardings: TrainState, *, which: str = "last"
    ) -> TrainState | None:
        """Loads a checkpoint, sharded as asked; None if the workdir has none.

        An unreadable one is reported and the one before it used; in training the
        unreadable one is moved to `checkpoints_unreadable/`.

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
        for step in steps:
            try:
                saved = self._orbax.metadata(step).metadata
                if saved is None:
                    raise ValueError("what its arrays are cannot be read")
                self._check_shapes(step, saved, shapes)
                return self._orbax.load(step, target)
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 - Orbax raises many kinds
                self._set_aside(step, error)
        if steps:
            raise UserError(
                f"{self.directory}: none of the checkpoints {sorted(steps)} can be read. "
                f"Restore them from a copy, or start again with another --workdir."
            )
        return None

    def _check_shapes(self, step: int, saved: Any, shapes: TrainState) -> None:
        """Orbax answers a foreign target with a bare IndexError; this one says what."""
        found, wanted = _shapes_by_path(saved), _shapes_by_path(shapes)
        differing = sorted(
            path
            for path in found.keys() | wanted.keys()
            if found.get(path) != wanted.get(path)
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

    def _set_aside(self, step: int, error: Exception) -> None:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(
            f"checkpoint of step {step} is unreadable ({reason[:200]}); "
            f"trying the one before it.",
            flush=True,
        )
        if self.read_only:
            return
        if is_main_process():
            aside = self.directory.parent / "checkpoints_unreadable"
            aside.mkdir(parents=True, exist_ok=True)
            target = aside / str(step)
            number = 1
            while target.exists():
                number += 1
                target = aside / f"{step}.{number}"
            (self.directory / str(step)).rename(target)
            print(f"It was moved to {target}.", flush=True)
        multihost_utils.sync_global_devices("unreadable checkpoint set aside")
        self._orbax.reload()

    @contextlib.contextmanager
    def _explained(self):
        """Says what a failed write means for the run."""
        try:
            yield
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            intact = [step for step in self.steps() if step != self._pending]
            raise UserError(
                f"{self.directory}: the checkpoint of step {self._pending} could not be "
                f"written ({reason[:300]}). Earlier checkpoints are intact: "
                f"{intact or 'there are none'}. Free some space or fix the disk, then run "
                f"the same command again to continue from there."
            ) from error


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _shapes_by_path(tree: Any) -> dict[str, tuple[int, ...]]:
    return {
        path_name(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if hasattr(leaf, "shape")
    }
