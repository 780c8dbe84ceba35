"""The loop: steps, rows, evaluations, checkpoints, and a clean way out of each."""

import math
import time

import jax
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.contracts import Source
from hybrid_jax.data.pipeline import train_batches
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import UserError, nearest
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.dataset_record import claim_dataset, record_of
from hybrid_jax.train.checkpoints.workdir import claim, forget_after
from hybrid_jax.train.evaluation import evaluate_split
from hybrid_jax.train.experiment import Experiment, prepare
from hybrid_jax.train.optimization.optimizer import make_schedule
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.reporting.announce import announce
from hybrid_jax.train.reporting.finite_check import check_finite
from hybrid_jax.train.reporting.log import RunLog
from hybrid_jax.train.reporting.run_report import write_report
from hybrid_jax.train.reporting.step_timer import StepTimer
from hybrid_jax.train.reporting.step_trace import StepTrace
from hybrid_jax.train.reporting.unused_data import UnusedData
from hybrid_jax.train.reporting.utilization import fastest_images_per_second
from hybrid_jax.train.state import TrainState
from hybrid_jax.train.stop import StopRequest

# Steps the host may run ahead of the devices: enough to hide its own work, few enough
# that a stop request is answered soon.
_AHEAD = 2


def train(config: ConfigDict, workdir: str) -> dict[str, float]:
    """Trains, or goes on training, what a config describes.

    Args:
        config: from a file in `configs/`.
        workdir: directory or bucket path; an earlier run of the same config there is
            continued from its newest checkpoint.

    Returns:
        The scores of the last evaluation.

    Raises:
        UserError: see `experiment.prepare`, `workdir.claim`, `claim_dataset`,
            `Checkpoints` and `check_finite`.
        KeyboardInterrupt: Ctrl-C; the step it came in has been saved.
    """
    started = time.perf_counter()
    path = epath.Path(workdir).expanduser().absolute()
    experiment = prepare(config, workdir=path)
    eval_source = open_split(config.data, split=config.eval.split)
    record = record_of(experiment.source, eval_source, task=config.task.name)
    claim(path, experiment.config)
    claim_dataset(path, record, data=config.data.name)
    announce(experiment, path)
    options = experiment.config.checkpoint
    with Checkpoints(
        path, keep=options.keep, best_metric=options.best_metric
    ) as checkpoints:
        state = checkpoints.restore(experiment.shapes, experiment.shardings)
        resumed = state is not None
        if state is None:
            state = experiment.new_state()
        start = int(state.step)
        forget_after(path, start)
        seconds_to_start = time.perf_counter() - started
        run = _Run(
            experiment,
            path,
            checkpoints,
            eval_source=eval_source,
            start=start,
            restored=resumed,
        )
        try:
            run.ready(seconds=seconds_to_start, resumed=resumed)
            scores = run.steps(state)
        finally:
            run.close()
    return scores


class _Run:
    """The moving parts of one call of `train`."""

    def __init__(
        self,
        experiment: Experiment,
        workdir: epath.Path,
        checkpoints: Checkpoints,
        *,
        eval_source: Source,
        start: int,
        restored: bool,
    ):
        self.experiment = experiment
        self.config = experiment.config
        self.workdir = workdir
        self.checkpoints = checkpoints
        self.start = start
        self.saved = start if restored else None
        best = checkpoints.best()
        metric = self.config.checkpoint.best_metric
        self.best_rank = checkpoints.rank({metric: best[1]}) if best else -math.inf
        self.unused_data = UnusedData()
        self.pending: list[tuple[int, dict[str, jax.Array]]] = []
        self.scores: dict[str, float] = {}
        self.facts: dict[str, float] = {}
        self.schedule = make_schedule(self.config.optimizer, steps=self.config.train.steps)
        self.train_step = experiment.jitted_train_step()
        self.eval_step = experiment.jitted_eval_step()
        self.eval_source = eval_source
        self.stop = StopRequest()
        self.log = RunLog(
            workdir,
            start=start,
            steps=self.config.train.steps,
            tensorboard=self.config.log.tensorboard,
            progress=self.config.log.progress,
        )
        self.batches = DevicePrefetch(
            train_batches(
                experiment.source,
                data=self.config.data,
                targets=experiment.task.targets,
                batch_size=self.config.train.batch_size,
                seed=self.config.seed,
                start_step=start,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            ),
            sharding=experiment.batch_sharding,
            size=self.config.data.prefetch,
        )
        self.timer = StepTimer(
            batch_size=self.config.train.batch_size,
            batches=self.batches,
            fastest=fastest_images_per_second(experiment),
        )
        self.trace = StepTrace(workdir, self.config.profile.steps, say=self.log.say)

    def ready(self, *, seconds: float, resumed: bool) -> None:
        """Says from which step it goes on, and that the first one, if any, takes longer."""
        self.facts["seconds_to_start"] = seconds
        verb = f"continued from step {self.start}" if resumed else "initialized"
        wait = "; the first step compiles" if self.start < self.config.train.steps else ""
        self.log.say(f"{verb} in {seconds:.1f} s{wait}")

    def steps(self, state: TrainState) -> dict[str, float]:
        """Runs from the state's step to the last, or until asked to stop."""
        config = self.config
        total = config.train.steps
        if self.start >= total:
            return self._already_done(state)
        self.timer.restart()
        for step in range(self.start + 1, total + 1):
            batch, counts = next(self.batches)
            self.unused_data.add(counts)
            self.trace.before(step)
            state, scalars = self.train_step(state, batch)
            self.pending.append((step, scalars))
            if step == self.start + 1:
                self._first_step(scalars)
            else:
                self.timer.step()
            if self.trace.after(step, scalars):
                self.timer.restart()
            if len(self.pending) > _AHEAD:
                jax.block_until_ready(self.pending[-1 - _AHEAD][1])
            self.log.advance()
            last = step == total
            stopping = self.stop.reached(step)
            if step % config.log.every == 0 or last or stopping:
                self._row(step)
                self.timer.restart()
            evaluating = (step % config.eval.every == 0 and not stopping) or last
            saving = step % config.checkpoint.every == 0 or last or stopping
            if evaluating or saving:
                self._drain()
                scores = None
                if evaluating:
                    scores = self.scores = self._evaluate(state)
                    self.log.scores(step, config.eval.split, scores)
                    saving |= self._is_best(scores)
                if saving:
                    self._save(step, state, scores)
                self.timer.restart()
            if stopping and not last:
                self.checkpoints.wait()
                asked = self.stop.signal
                self.log.say(f"stopped by {asked} after step {step}; saved")
                if asked == "SIGINT":
                    raise KeyboardInterrupt  # what comes after this run must not start
                return self.scores
        self.checkpoints.wait()
        self._report()
        return self.scores

    def _already_done(self, state: TrainState) -> dict[str, float]:
        """Scores a run that was finished before; makes up for a report it lost."""
        total = self.config.train.steps
        self.scores = self._evaluate(state)
        self.log.say(
            f"already at step {self.start} of {total}: nothing to train. A larger "
            f"train.steps makes the run longer; --mode=evaluate scores other splits."
        )
        if not (self.workdir / "report.json").exists():
            self._report()
        return self.scores

    def close(self) -> None:
        """Lets go of the data, the trace, the log and the signal handler."""
        self.trace.close()
        self.batches.close()
        self.log.close()
        self.stop.close()

    def _first_step(self, scalars: dict[str, jax.Array]) -> None:
        """Waits for the compilation and keeps its time out of the speed."""
        jax.block_until_ready(scalars)
        self.facts["seconds_first_step"] = self.timer.seconds()
        self.log.say(
            f"first step, compilation included: {self.facts['seconds_first_step']:.1f} s"
        )
        self.timer.restart()

    def _drain(self) -> dict[str, float]:
        """Fetches all pending scalars, checks them, returns the newest as floats."""
        newest: dict[str, float] = {}
        fetched = jax.device_get([scalars for _, scalars in self.pending])
        for (step, _), scalars in zip(self.pending, fetched, strict=True):
            newest = {name: float(value) for name, value in scalars.items()}
            rate = float(self.schedule(step - 1))
            check_finite(step, newest, learning_rate=rate, last_saved=self.saved)
        self.pending.clear()
        return newest

    def _row(self, step: int) -> None:
        values = self._drain()
        pace = self.timer.values()  # once the steps it counts are done
        values["learning_rate"] = float(self.schedule(step - 1))
        values |= pace
        self.facts |= pace
        values |= self.unused_data.tell(self.log.say)
        self.log.train_row(step, values)

    def _evaluate(self, state: TrainState) -> dict[str, float]:
        return evaluate_split(
            self.eval_step,
            state,
            self.eval_source,
            task=self.experiment.task,
            data=self.experiment.eval_data,
            batch_size=self.config.eval.batch_size,
            sharding=self.experiment.batch_sharding,
            progress=self.config.log.progress,
        )

    def _is_best(self, scores: dict[str, float]) -> bool:
        """Remembered here, not asked of the disk: all processes must answer alike."""
        metric = self.config.checkpoint.best_metric
        if metric and metric not in scores:
            raise UserError(
                f"config.checkpoint.best_metric: {metric!r} is not a score of this task."
                f"{nearest(metric, scores)} Known: {', '.join(scores)}; empty for none."
            )
        rank = self.checkpoints.rank(scores)
        if rank <= self.best_rank:
            return False
        self.best_rank = rank
        return True

    def _save(self, step: int, state: TrainState, scores: dict[str, float] | None) -> None:
        if step == self.saved:
            return
        self.checkpoints.save(step, state, scores=scores)
        self.saved = step
        self.log.flush()

    def _report(self) -> None:
        if not is_main_process():
            return
        write_report(
            self.workdir,
            self.config,
            scores=self.scores,
            best=self.checkpoints.best(),
            facts=self.facts | dict(skipped=0) | self.unused_data.reported,
        )
        self.log.say(
            f"done: {self.config.train.steps} steps; checkpoints "
            f"{self.checkpoints.steps()} and report.json in {self.workdir}"
        )
