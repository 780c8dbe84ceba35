"""One process of a study: its command, and what its end means."""

import dataclasses
import json
import math
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config import to_json
from hybrid_jax.studies.planning.plan import Run
from hybrid_jax.studies.results.localization import UNIFORM, view_scores
from hybrid_jax.studies.running import saved_experiment
from hybrid_jax.studies.running.changed_experiment import changed_experiment
from hybrid_jax.studies.settings import LOCALIZATION, ROBUSTNESS, Study
from hybrid_jax.train.checkpoints.workdir import has_checkpoint, write_whole

PROGRAM = (sys.executable, "-m", "hybrid_jax.main")

# What `check_finite` says of a loss or a gradient.
_DIVERGED = "is not finite"


@dataclasses.dataclass(frozen=True)
class Job:
    """A training or a scoring of one run.

    Attributes:
        run: which.
        folder: its workdir.
        evaluation: name of what is scored; None for a training.
        experiment: of this process: the run's, with the changes of the evaluation.
        score: name of the score that counts.
        restore: "best" or "last": the checkpoint that counts.
        suites: of robustness, if they are what is scored.
        views: whether it is what is scored where the model looks.
        changes: dotted ones of the evaluation; {} for a training.
    """

    run: Run
    folder: pathlib.Path
    evaluation: str | None
    experiment: ConfigDict
    score: str
    restore: str
    suites: tuple[str, ...] = ()
    views: bool = False
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def result_file(self) -> pathlib.Path:
        """Written once, when the outcome is known for good."""
        return self._file("result", "json")

    @property
    def output_file(self) -> pathlib.Path:
        """What the process has printed."""
        return self._file("output", "txt")

    def _file(self, stem: str, ending: str) -> pathlib.Path:
        of = "" if self.evaluation is None else f"_{self.evaluation}"
        return self.folder / f"{stem}{of}.{ending}"

    def result(self) -> dict[str, Any] | None:
        """Returns the outcome; None if there is none yet, or one of another evaluation."""
        if not self.result_file.exists():
            return None
        found = json.loads(self.result_file.read_text())
        return found if found.get("scored_with", self._changes) == self._changes else None

    @property
    def _changes(self) -> dict[str, Any]:
        """What an evaluation of this name is: it may be another one in a later study."""
        kind = dict(suites=self.suites) if self.suites else {}
        kind |= dict(views=True) if self.views else {}
        return json.loads(json.dumps(dict(self.changes) | kind))

    def command(self, program: Sequence[str]) -> list[str]:
        """Writes the experiment and returns the command line."""
        experiment = self._file("experiment", "json")
        write_whole(epath.Path(experiment), to_json(self.experiment) + "\n")
        words = [
            *program,
            f"--config={saved_experiment.__file__}:{experiment}",
            f"--workdir={self.folder}",
        ]
        if self.suites:
            return [*words, "--mode=robustness", f"--suites={','.join(self.suites)}"]
        if self.views:
            return [*words, "--mode=explain"]
        if self.evaluation is None:
            return words
        return [*words, "--mode=evaluate", f"--output={self._file('evaluation', 'json')}"]

    def begun(self) -> bool:
        """Whether an earlier process has left work, so that the time is not whole.

        A training that was stopped before it saved anything begins anew.
        """
        if self.evaluation is None:
            return has_checkpoint(epath.Path(self.folder))
        return self.output_file.exists()

    def finish(self, *, code: int, seconds: float, resumed: bool) -> dict[str, Any] | None:
        """Writes and returns the outcome of a process that has ended.

        Args:
            code: exit status; negative for a signal.
            seconds: that the process took.
            resumed: whether it went on with what another one began.

        Returns:
            None for a process that was asked to stop, whose work can go on. Else `status`
            ("finished", "diverged" or "failed"), `score` (None unless finished), `scores`
            of the last evaluation or of the split, and `time`; of an evaluation
            `scored_with`, its changes and suites; of views `of`, what each is, and
            `examples`, how many images have boxes.
        """
        if code == 130:
            return None
        time: dict[str, Any] = dict(seconds=round(seconds, 2), resumed=resumed)
        outcome: dict[str, Any] = dict(status="failed", exit=code, score=None, scores={})
        if code == 0:
            found = self._found()
            if found is None:
                return None  # SIGTERM: saved, and left without a report
            score, report = found
            outcome.update(status="finished", score=score, scores=report["scores"])
            if not math.isfinite(score):
                outcome.update(status="diverged", score=None, scores={})
            outcome |= {key: report[key] for key in _OF_VIEWS if key in report}
            time |= {key: report[key] for key in _TIMES if key in report}
        elif _DIVERGED in self.output_file.read_text(errors="replace"):
            outcome["status"] = "diverged"
        outcome["time"] = time
        if self.evaluation is not None:
            outcome["scored_with"] = self._changes
        text = json.dumps(outcome, indent=2) + "\n"
        write_whole(epath.Path(self.result_file), text)
        return outcome

    def _found(self) -> tuple[float, dict[str, Any]] | None:
        """Returns the score that counts and what else the process has written."""
        if self.suites:
            return self._found_under_suites()
        if self.views:
            return self._found_of_views()
        if self.evaluation is not None:
            scores = json.loads(self._file("evaluation", "json").read_text())
            del scores["step"], scores["split"]
            return scores[self.score], dict(scores=scores)
        path = self.folder / "report.json"
        if not path.exists():
            return None
        report = json.loads(path.read_text())
        if self.restore == "best" and report["best"]:
            return report["best"]["score"], report
        return report["scores"][self.score], report

    def _found_under_suites(self) -> tuple[float, dict[str, Any]]:
        """Returns the clean score, and by suite the mean over its passes."""
        found = json.loads((self.folder / "robustness.json").read_text())
        means = {}
        for name, suite in found["suites"].items():
            passes = [one for line in suite["lines"].values() for one in line["scores"]]
            means[name] = statistics.fmean(one[self.score] for one in passes)
        return found["clean"][self.score], dict(scores=means)

    def _found_of_views(self) -> tuple[float, dict[str, Any]]:
        """Returns the score of a uniform map, and those of the views."""
        split = self.experiment.eval.split
        found = json.loads((self.folder / f"localization_{split}.json").read_text())
        scores = view_scores(found)
        kinds = {view: row["of"] for view, row in found["views"].items()}
        report = dict(scores=scores, of=kinds, examples=found["examples"])
        return scores[UNIFORM], report


_OF_VIEWS = ("of", "examples")
_TIMES = ("images_per_second", "seconds_to_start", "seconds_first_step", "batch_size")


def training(run: Run, study: Study, runs: pathlib.Path) -> Job:
    """Returns the training of a run, in its folder below `runs`."""
    restore = study.base["eval"]["restore"]
    return Job(run, runs / run.name, None, run.experiment, study.score, restore)


def scoring(run: Run, study: Study, runs: pathlib.Path, *, evaluation: str) -> Job:
    """Returns one of the study's evaluations of a run that is trained."""
    changes = study.evaluations[evaluation]
    where = f"config.study.evaluations: {evaluation!r}"
    return dataclasses.replace(
        training(run, study, runs),
        evaluation=evaluation,
        changes=changes,
        experiment=changed_experiment(run.experiment.to_dict(), changes, where=where),
    )


def scoring_under_suites(run: Run, study: Study, runs: pathlib.Path) -> Job:
    """Returns the scoring of the test split under the study's suites of robustness."""
    test = scoring(run, study, runs, evaluation=study.test_split)
    return dataclasses.replace(test, evaluation=ROBUSTNESS, suites=study.suites)


def scoring_of_views(run: Run, study: Study, runs: pathlib.Path) -> Job:
    """Returns the scoring of where a run looks in the images of the test split."""
    test = scoring(run, study, runs, evaluation=study.test_split)
    return dataclasses.replace(test, evaluation=LOCALIZATION, score=UNIFORM, views=True)
