"""How long the runs of a study will take, from a few steps of each variant."""

import pathlib
from collections.abc import Sequence

from hybrid_jax.config import changed, resolve
from hybrid_jax.data.sources import open_split
from hybrid_jax.studies.job import training
from hybrid_jax.studies.plan import Run, trials
from hybrid_jax.studies.runner import Runner
from hybrid_jax.studies.settings import Study

STEPS = 20


def seconds_per_run(
    study: Study, workdir: pathlib.Path, runner: Runner
) -> dict[str, float | None]:
    """Trains each variant for 20 steps and returns how long its whole run would take.

    Evaluations on the way are not counted. As many probes run at a time as runs will.

    Returns:
        Variant -> seconds; None where the probe failed.
    """
    firsts = trials(study)[: len(study.variants)]
    jobs = [training(_short(run), study, workdir / "probe") for run in firsts]
    results = runner.run(jobs)
    found: dict[str, float | None] = {}
    for run, result in zip(firsts, results, strict=True):
        time = result["time"]
        speed = time.get("images_per_second")
        found[run.variant] = None
        if speed:
            images = _steps(run) * time["batch_size"]
            start = time["seconds_to_start"] + time["seconds_first_step"]
            found[run.variant] = start + images / speed
    return found


def expected_seconds(study: Study, of_run: dict[str, float | None]) -> float | None:
    """Returns the time of all runs, `jobs` at a time; None if a probe failed."""
    per_variant = len(study.settings[study.baseline]) + len(study.seeds) - 1
    known: Sequence[float] = [s for s in of_run.values() if s is not None]
    if len(known) < len(of_run):
        return None
    return per_variant * sum(known) / study.jobs


def _short(run: Run) -> Run:
    values = {
        "train.steps": STEPS,
        "log.every": STEPS,
        "eval.every": STEPS,
        "checkpoint.every": STEPS,
    }
    experiment = changed(run.experiment, values)
    return Run(run.name, run.variant, run.setting, run.seed, experiment)


def _steps(run: Run) -> int:
    data = run.experiment.data
    length = len(open_split(data, split=data.train_split))
    config = resolve(run.experiment, on_cpu=True, num_train_examples=length)
    return config.train.steps
