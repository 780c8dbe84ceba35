"""`findings.json`: what a run's report shows and its other files do not have."""

import collections
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from etils import epath

from hybrid_jax.contracts import Source
from hybrid_jax.errors import BadImageError
from hybrid_jax.tasks.findings import Case, Findings
from hybrid_jax.train.checkpoints.workdir import write_whole
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.measuring.forward_pass import trace_forward
from hybrid_jax.train.optimization.optimizer import branch_of
from hybrid_jax.train.reporting.example_pictures import (
    case_record,
    sample_record,
    spread_indices,
)
from hybrid_jax.train.state import path_name

FINDINGS_FILE = "findings.json"
FINDINGS_VERSION = 1  # of its keys; a page is not made of others
_SAMPLES = 8
_PICTURES_BYTES = 2_000_000  # of all pictures of a file, as text


def write_findings(
    workdir: epath.Path,
    experiment: Experiment,
    *,
    source: Source,
    findings: Findings | None,
    step: int,
    split: str,
) -> None:
    """Writes the findings of an evaluation, the model's cost and samples of the data.

    Args:
        workdir: of the run.
        experiment: the run.
        source: the split that was evaluated.
        findings: of the evaluation; None if the task has none.
        step: of the state that was evaluated.
        split: its name.
    """
    room = _Room(_PICTURES_BYTES)
    task, train = experiment.task, experiment.source
    best, worst = findings.cases() if findings is not None else ([], [])

    def records(cases: Sequence[Case]) -> list[dict[str, Any]]:
        return room.taken(lambda case: case_record(task, source, case), cases)

    found = dict(
        version=FINDINGS_VERSION,
        step=step,
        split=split,
        command=command_of_run(),
        cost=_cost(experiment),
        **(findings.facts() if findings is not None else {}),
        worst=records(worst),
        best=records(best),
        samples=room.taken(
            lambda index: sample_record(task, train, index),
            spread_indices(len(train), count=_SAMPLES),
        ),
    )
    write_whole(workdir / FINDINGS_FILE, json.dumps(found) + "\n")


def command_of_run() -> str | None:
    """Returns the command line of this process; None if it is not this library's."""
    words = list(sys.orig_argv)
    if "hybrid_jax.main" not in words:
        return None
    return shlex.join(["python", *words[words.index("hybrid_jax.main") - 1 :]])


class _Room:
    """Takes records of pictures as long as there is room for them."""

    def __init__(self, size: int):
        self._left = size

    def taken(
        self, make: Callable[[Any], dict[str, Any]], of: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Returns the records made of as many as fit; an unreadable one is left out."""
        records = []
        for one in of:
            try:
                record = make(one)
            except BadImageError:
                continue
            self._left -= sum(len(picture["src"]) for picture in record["pictures"])
            if self._left < 0:
                break
            records.append(record)
        return records


def _cost(experiment: Experiment) -> dict[str, Any]:
    """Returns parameters by branch and the multiply-accumulates of one image."""
    parameters: collections.Counter[str] = collections.Counter()
    for path, leaf in jax.tree_util.tree_leaves_with_path(experiment.shapes.params):
        parameters[branch_of(path_name(path))] += leaf.size
    image_size = tuple(experiment.config.data.image_size)
    _, flow = trace_forward(experiment.graph, experiment.shapes, image_size=image_size)
    return dict(parameters=dict(parameters), macs=flow.macs)
