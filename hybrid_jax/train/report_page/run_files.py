"""What a workdir has of a run, read without failing over what is missing or torn."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.workdir import flat
from hybrid_jax.train.reporting.best_score import LOWER_IS_BETTER
from hybrid_jax.train.reporting.findings_file import FINDINGS_FILE, FINDINGS_VERSION

_USUAL_SCORES = dict(classification="top1", detection="AP", segmentation="mIoU")
ABSENT = -1
"""The value of a score that has nothing to be computed from."""
_CLOCK = ("step", "split")


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
        workdir: of the run.
        settings: the config, dotted key -> value.
        dataset: of `dataset.json`.
        report: of `report.json`, which a finished run has.
        findings: of `findings.json`.
        rows: of `metrics.jsonl`, without lines that are not whole.
        notes: sentences about what is missing.
    """

    workdir: epath.Path
    settings: Mapping[str, Any]
    dataset: Mapping[str, Any]
    report: Mapping[str, Any]
    findings: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the workdir's path."""
        return self.workdir.name

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.settings.get("task.name", "")

    @property
    def main_score(self) -> str:
        """The score that the best checkpoint is chosen by, or the usual one."""
        score = self.settings.get("checkpoint.best_metric", "auto")
        return score if score not in ("", "auto") else _USUAL_SCORES.get(self.task, "loss")

    @property
    def splits(self) -> list[str]:
        """Splits that were evaluated during training."""
        return [s for s in dict.fromkeys(row["split"] for row in self.rows) if s != "train"]

    def points(self, key: str, *, split: str) -> list[tuple[int, float]]:
        """Returns (step, value) of the rows of a split that have one, finite."""
        return [
            (row["step"], float(row[key]))
            for row in self.rows
            if row["split"] == split and _is_number(row.get(key)) and row[key] != ABSENT
        ]

    def keys(self, split: str) -> list[str]:
        """Returns what rows of a split have, but for the scores of single classes."""
        names = dict.fromkeys(
            name for row in self.rows if row["split"] == split for name in row
        )
        return [name for name in names if name not in _CLOCK and "/" not in name]

    def best(self) -> tuple[int, float, str] | None:
        """Returns step, value and split of the best main score; None without any."""
        for split in self.splits:
            points = self.points(self.main_score, split=split)
            if points:
                sign = -1 if self.main_score in LOWER_IS_BETTER else 1
                step, value = max(points, key=lambda point: (sign * point[1], point[0]))
                return step, value, split
        return None

    def last_row(self, split: str) -> Mapping[str, Any]:
        """Returns the last row of a split, {} if there is none."""
        rows = [row for row in self.rows if row["split"] == split]
        return rows[-1] if rows else {}


def read_run(workdir: epath.Path) -> RunFiles:
    """Reads the files of a run.

    Raises:
        UserError: there is no run.
    """
    config = _json(workdir / "config.json")
    rows = _rows(workdir / "metrics.jsonl")
    if not config and not rows:
        raise UserError(
            f"--workdir: {workdir} has neither config.json nor metrics.jsonl that can be "
            f"read, so no run. Name the workdir of one."
        )
    report, findings = _json(workdir / "report.json"), _json(workdir / FINDINGS_FILE)
    if findings.get("version") != FINDINGS_VERSION:
        findings = {}
    steps = flat(config).get("train.steps")
    reached = max((row["step"] for row in rows), default=0)
    notes = []
    if not report:
        notes.append(f"The run has not ended: it is at step {reached} of {steps}.")
    if not rows:
        notes.append("There are no curves: metrics.jsonl has no rows.")
    if not findings:
        notes.append(
            f"There is no {FINDINGS_FILE} of this version, so nothing of single "
            f"predictions is shown."
        )
    return RunFiles(
        workdir=workdir,
        settings=flat(config),
        dataset=_json(workdir / "dataset.json"),
        report=report,
        findings=findings,
        rows=rows,
        notes=tuple(notes),
    )


def config_fault(workdir: epath.Path) -> str:
    """Returns what is wrong with the `config.json` of a run, "" if nothing or no file."""
    path = workdir / "config.json"
    if not path.exists():
        return ""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return f"{path} is damaged: {error}"
    return "" if isinstance(content, dict) else f"{path} is damaged: it holds no object"


def _json(path: epath.Path) -> dict[str, Any]:
    """Returns the content of a file; {} if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _rows(path: epath.Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().decode(errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # half a line of a process that was killed
        if not isinstance(row, dict):
            continue
        if isinstance(row.get("step"), int) and isinstance(row.get("split"), str):
            rows.append(row)
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
