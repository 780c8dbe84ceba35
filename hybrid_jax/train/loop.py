"""The loop: steps, rows, evaluations, checkpoints, and a clean way out of each."""

import functools
import time
from contextlib import ExitStack, closing

import jax
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.contracts import Source
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.workdir import forget_after, has_row
from hybrid_jax.train.evaluation import evaluate_split
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.measuring.metrics_buffer import MetricsBuffer
from hybrid_jax.train.measuring.step_timer import StepTimer
from hybrid_jax.train.measuring.step_trace import StepTrace
from hybrid_jax.train.measuring.utilization import fastest_images_per_second
from hybrid_jax.train.open_run import open_run
from hybrid_jax.train.optimization.schedule import make_schedule
from hybrid_jax.train.parallel.distributed import from_main_process, is_main_process
from hybrid_jax.train.reporting.announce import first_step_line, ready_line
from hybrid_jax.train.reporting.counted_evaluation import CountedEvaluation
from hybrid_jax.train.reporting.heartbeat import Heartbeat
from hybrid_jax.train.reporting.log import RunLog
from hybrid_jax.train.reporting.run_pictures import RunPictures
from hybrid_jax.train.reporting.run_report import write_report
from hybrid_jax.train.reporting.unused_data import UnusedData
from hybrid_jax.train.state import TrainState
from hybrid_jax.train.stop import StopRequest


def train(config: ConfigDict, workdir: str) -> dict[str, float]:
    """Trains, or goes on training, what a config describes.

    Args:
        config: from a file in `configs/`.
        workdir: directory or bucket path; an earlier run of the same config there is
            continued from its newest checkpoint.

    Returns:
        The scores of the last evaluation.

    Raises:
        UserError: see `open_run`, `Checkpoints` and `check_finite`.
        KeyboardInterrupt: Ctrl-C; the step it came in has been saved.
    """
    started = time.perf_counter()
    path = epath.Path(workdir).expanduser().absolute()
    with ExitStack() as opened:
        enter = opened.enter_context
        heartbeat = enter(Heartbeat())
        experiment, eval_source = open_run(config, path, heartbeat=heartbeat)
        kept = experiment.config.checkpoint
        checkpoints = enter(Checkpoints(path, keep=kept.keep, best_metric=kept.best_metric))
        heartbeat.doing("looking for a checkpoint and restoring it")
        state = checkpoints.restore(experiment.shapes, experiment.shardings)
        restored = state is not None
        if state is None:
            heartbeat.doing("compiling the initialization and running it")
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
            restored=restored,
            heartbeat=heartbeat,
        )
        enter(closing(run))
        run.ready(seconds=seconds_to_start)
        return run.steps(state)


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
        heartbeat: Heartbeat,
    ):
        self.experiment = experiment
        self.config = config = experiment.config
        self.workdir, self.checkpoints = workdir, checkpoints
        self.heartbeat, self.eval_source = heartbeat, eval_source
        self.start = self.at = start
        self.saved = start if restored else None
        self.unused_data = UnusedData()
        self.scores: dict[str, float] = {}
        self.facts: dict[str, float] = {}
        self.schedule = make_schedule(config.optimizer, steps=config.train.steps)
        self.metrics = MetricsBuffer(schedule=self.schedule)
        self.train_step = experiment.jitted_train_step()
        step = experiment.jitted_eval_step()
        self.eval_step = CountedEvaluation(step, eval_source, config=config.eval)
        with ExitStack() as opened:  # closes what there is, if the rest cannot be made
            enter = opened.enter_context
            self.stop = enter(closing(StopRequest()))
            self.log = log = RunLog(
                workdir,
                start=start,
                steps=config.train.steps,
                tensorboard=config.log.tensorboard,
                progress=config.log.progress,
                main_score=config.checkpoint.best_metric,
                status=heartbeat.status,
            )
            enter(closing(log))
            self.pictures = RunPictures(experiment, workdir, source=eval_source, log=log)
            self.batches = enter(closing(experiment.train_batches(start=start)))
            self.timer = StepTimer(
                batch_size=config.train.batch_size,
                batches=self.batches,
                fastest=fastest_images_per_second(experiment),
            )
            trace = StepTrace(workdir, config.profile.steps, say=log.say)
            self.trace = enter(closing(trace))
            heartbeat.say_by(log.beat)
            self._opened = opened.pop_all()

    def ready(self, *, seconds: float) -> None:
        """Says from which step it goes on, and what takes long next."""
        self.heartbeat.doing(None)
        self.facts["seconds_to_start"] = seconds
        more = self.start < self.config.train.steps
        self.log.say(ready_line(self.saved, seconds=seconds, compiles=more))

    def steps(self, state: TrainState) -> dict[str, float]:
        """Runs from the state's step to the last, or until asked to stop."""
        config, total = self.config, self.config.train.steps
        if self._evaluation_is_due():
            self._evaluate(self.start, state)
        if self.start >= total:
            return self._already_done(state)
        self.timer.restart()
        self.heartbeat.doing("reading the first batch and compiling the training step")
        for step in range(self.start + 1, total + 1):
            every = functools.partial(_is_time, step, last=total)
            batch, counts = next(self.batches)
            self.unused_data.add(counts)
            with self.timer.paused():
                self.trace.before(step)
            state, scalars = self.train_step(state, batch)
            self._count(step, scalars)
            self.metrics.push(step, scalars)
            stopping = self.stop.reached(step)
            if every(config.log.every) or stopping:
                self._row(step)
            if every(config.checkpoint.every) or stopping:
                self._save(step, state)
            if every(config.eval.every) and (step == total or not stopping):
                self._evaluate(step, state)
            if stopping and step < total:
                return self._stopped(step)
        self.checkpoints.wait()
        self._report()
        return self.scores

    def close(self) -> None:
        """Lets go of the trace, the data, the log and the signal handler."""
        self.heartbeat.doing(None)
        self._opened.close()

    def _count(self, step: int, scalars: dict[str, jax.Array]) -> None:
        """Counts a step; keeps the compilation out of the speed, and a trace's end."""
        self.at = step
        if step == self.start + 1:
            self.heartbeat.doing("running the first step")
            jax.block_until_ready(scalars)
            seconds = self.facts["seconds_first_step"] = self.timer.seconds()
            self.log.say(first_step_line(step, seconds=seconds, config=self.config))
            self.heartbeat.doing(lambda: f"training, step {self.at}")
            self.timer.restart()
        else:
            self.timer.step()
        if self.trace.is_last(step):
            jax.block_until_ready(scalars)
            with self.timer.paused():
                self.trace.close()
        self.log.advance()

    def _row(self, step: int) -> None:
        values = self.metrics.drain(last_saved=self.saved)
        self.heartbeat.doing(None)  # from now on, rows tell
        pace = self.timer.values()  # once the steps it counts are done
        values["learning_rate"] = float(self.schedule(step - 1))
        values |= pace
        self.facts |= pace
        values |= self.unused_data.tell(self.log.say)
        self.log.train_row(step, values)
        self.timer.restart()

    def _save(
        self, step: int, state: TrainState, *, scores: dict[str, float] | None = None
    ) -> None:
        """Begins to write a checkpoint, once all steps up to it are known to be finite."""
        self.metrics.drain(last_saved=self.saved)
        with self.timer.paused():
            self.checkpoints.save(step, state, scores=scores)
            self.saved = step
            self.log.flush()

    def _evaluate(self, step: int, state: TrainState) -> None:
        """Scores a state, which is on disk by then if the step saves one.

        If it is the best and was not saved, it is saved. The row is the last to be written:
        a run that is continued without it makes up for the evaluation.
        """
        self.metrics.drain(last_saved=self.saved)
        with self.timer.paused():
            if jax.process_count() > 1:
                # One that fails leaves at once, and a checkpoint takes all processes.
                self.checkpoints.wait()
            scores = self.scores = self._scores_of(step, state)
            is_best = self.checkpoints.is_best(scores)
            if self.saved == step:
                self.checkpoints.attach(step, scores)
            elif is_best:
                self._save(step, state, scores=scores)
            self.pictures.evaluated(step)
            self.log.scores(step, self.config.eval.split, scores)
            self.log.flush()

    def _evaluation_is_due(self) -> bool:
        """Whether the run ended between a checkpoint and the evaluation of its step."""
        config, step = self.config, self.start
        is_time = _is_time(step, config.eval.every, last=config.train.steps)
        if self.saved is None or not is_time:
            return False
        return from_main_process(
            lambda: not has_row(self.workdir, step, split=config.eval.split)
        )

    def _scores_of(self, step: int, state: TrainState) -> dict[str, float]:
        self.eval_step.begin(step, say=self.log.say)
        with self.heartbeat.during(self.eval_step.words), self.log.aside():
            return evaluate_split(
                self.eval_step,
                state,
                self.eval_source,
                task=self.experiment.task,
                data=self.experiment.eval_data,
                batch_size=self.config.eval.batch_size,
                sharding=self.experiment.batch_sharding,
                progress=self.config.log.progress,
                watchers=self.pictures.watchers(step),
            )

    def _stopped(self, step: int) -> dict[str, float]:
        """Ends a run that was asked to, once its last checkpoint is on disk."""
        self.checkpoints.wait()
        self.log.say(f"stopped by {self.stop.signal} after step {step}; saved")
        self.pictures.write_page()  # takes a moment, and all that must last is on disk
        if self.stop.signal == "SIGINT":
            raise KeyboardInterrupt  # what comes after this run must not start
        return self.scores

    def _already_done(self, state: TrainState) -> dict[str, float]:
        """Scores a run that was finished before; makes up for a report it lost."""
        total, name = self.config.train.steps, self.experiment.task.main_score
        scores = self.scores = self.scores or self._scores_of(self.start, state)
        self.log.say(
            f"already at step {self.start} of {total}, {name} {scores[name]:.4f}: nothing "
            f"to train. A larger train.steps goes on; --mode=evaluate scores other splits."
        )
        if not (self.workdir / "report.json").exists():
            self._report()
        return self.scores

    def _report(self) -> None:
        if is_main_process():
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
        self.pictures.write_report(self.config.train.steps)


def _is_time(step: int, every: int, *, last: int) -> bool:
    """Whether something that is done every so many steps, and after the last, is due."""
    return step % every == 0 or step == last
