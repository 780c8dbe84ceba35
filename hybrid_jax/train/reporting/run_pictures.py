"""What a run shows of itself besides numbers: the same examples again, and its report."""

from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from hybrid_jax.contracts import Scorer, Source, Task
from hybrid_jax.tasks.findings import Findings
from hybrid_jax.train.checkpoints.workdir import flat
from hybrid_jax.train.evaluation import Watcher
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.report_page.page import write_page
from hybrid_jax.train.reporting.example_pictures import draw_prediction, spread_indices
from hybrid_jax.train.reporting.findings_file import write_findings
from hybrid_jax.train.reporting.log import RunLog
from hybrid_jax.train.reporting.spared import Spared, spared

_EXAMPLES = 8


class RunPictures:
    """Follows the evaluations of a run; nothing it does can end the run.

    Args:
        experiment: the run.
        workdir: of the run.
        source: the split that is evaluated.
        log: has TensorBoard, and prints lines.
    """

    def __init__(
        self,
        experiment: Experiment,
        workdir: epath.Path,
        *,
        source: Source,
        log: RunLog,
    ):
        self._experiment, self._workdir = experiment, workdir
        self._source, self._log = source, log
        self._split = experiment.config.eval.split
        self._examples: SameExamples | None = None
        self._findings: Findings | None = None
        self._complete: Spared | None = None
        if log.has_events:
            with spared("config in TensorBoard", say=log.say):
                log.text("config", config_text(experiment.config.to_dict()))

    def watchers(self, step: int) -> list[Watcher]:
        """Returns what is to see the predictions of a step's evaluation."""
        watchers: list[Watcher] = []
        if not is_main_process():
            return watchers
        task, config = self._experiment.task, self._experiment.config
        self._examples = self._findings = self._complete = None
        if self._log.has_events:
            self._examples = SameExamples(task, self._source)
            what = "images in TensorBoard"
            watchers.append(Spared(self._examples, what=what, say=self._log.say))
        make = getattr(task, "findings", None)
        if config.log.report_page and step >= config.train.steps and make is not None:
            what = "findings in report.html"
            with spared(what, say=self._log.say):
                self._findings = findings = make(self._source)
                self._complete = Spared(findings, what=what, say=self._log.say)
                watchers.append(self._complete)
        return watchers

    def evaluated(self, step: int) -> None:
        """Draws the examples that the evaluation of a step has predicted."""
        if self._examples is not None:
            with spared("images in TensorBoard", say=self._log.say):
                for name, picture in self._examples.pictures().items():
                    self._log.picture(step, f"{self._split}/{name}", picture)

    def write_report(self, step: int) -> None:
        """Writes `findings.json` and `report.html`, on the main process."""
        if not (is_main_process() and self._experiment.config.log.report_page):
            return
        complete = self._complete is not None and not self._complete.failed
        with spared("findings.json", say=self._log.say):
            write_findings(
                self._workdir,
                self._experiment,
                source=self._source,
                findings=self._findings if complete else None,
                step=step,
                split=self._split,
            )
        self.write_page()

    def write_page(self) -> None:
        """Writes `report.html` from what the workdir has, on the main process."""
        if not (is_main_process() and self._experiment.config.log.report_page):
            return
        with spared("report.html", say=self._log.say):
            self._log.say(f"report: {write_page(self._workdir)}")


class SameExamples:
    """Keeps the predictions for the same examples of every evaluation.

    Args:
        task: draws them.
        source: of the examples, of which up to eight are taken.
    """

    def __init__(self, task: Task, source: Source):
        self._task, self._source = task, source
        self._wanted = set(spread_indices(len(source), count=_EXAMPLES))
        self._found: dict[int, Mapping[str, np.ndarray]] = {}

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        index: np.ndarray,
        *,
        scorer: Scorer | None,
    ) -> None:
        """Keeps those rows of a batch that are wanted."""
        del scorer
        for row, number in enumerate(np.asarray(index).tolist()):
            if number in self._wanted:
                self._found[number] = {
                    name: np.array(value[row]) for name, value in predictions.items()
                }

    def pictures(self) -> dict[str, np.ndarray]:
        """Returns name -> (H, W, 3) uint8."""
        return {
            f"example_{number}": draw_prediction(
                self._task, self._source[number]["image"], prediction
            )
            for number, prediction in sorted(self._found.items())
        }


def config_text(config: Mapping) -> str:
    """Returns a config as a table in Markdown."""
    rows: Sequence[tuple] = sorted(flat(dict(config)).items())
    lines = [f"| `{key}` | `{value!r}` |" for key, value in rows]
    return "\n".join(["| key | value |", "|---|---|", *lines])
