"""`--mode=study`: compares variants of an experiment, each tuned alike, over seeds."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.studies.planning.matching import check_matched
from hybrid_jax.studies.planning.plan import finals, own_first, trials
from hybrid_jax.studies.planning.probe import step_times, with_times
from hybrid_jax.studies.planning.readiness import lengths_of, training_data_fault
from hybrid_jax.studies.planning.sizes import Size, SizeOf, size_of, sizes_of
from hybrid_jax.studies.results.choice import choose
from hybrid_jax.studies.results.plots.save_plots import save_plots
from hybrid_jax.studies.results.report import report
from hybrid_jax.studies.results.shown import show_plan, show_result
from hybrid_jax.studies.results.table import study_table
from hybrid_jax.studies.running.job import (
    PROGRAM,
    scoring,
    scoring_of_views,
    scoring_under_suites,
    training,
)
from hybrid_jax.studies.running.runner import Runner
from hybrid_jax.studies.settings import LOCALIZATION, Study, study_of
from hybrid_jax.train.checkpoints.workdir import write_whole


def study(
    config: ConfigDict,
    workdir: str,
    *,
    program: Sequence[str] = PROGRAM,
    measure: SizeOf = size_of,
) -> dict[str, Any] | None:
    """Runs what is missing of a study and writes its tables.

    Settings are chosen on the validation split, with the same number of trials for every
    variant; the chosen one is trained with every seed; the test split is scored last, when
    nothing is left to decide. The same command goes on with a study that was interrupted,
    and several may work on one workdir.

    Args:
        config: of `study_config`.
        workdir: a directory, on a file system with locks; `study.json` and `study.md` are
            written there, runs go below `runs`.
        program: the words in front of the flags of each run.
        measure: gives the size of an experiment's model.

    Returns:
        What `study.json` holds; None after `study.plan_only`.

    Raises:
        UserError: see `study_of`, `lengths_of`, `check_matched` and `Runner.run`.
    """
    described = study_of(config)
    path = pathlib.Path(workdir).expanduser().absolute()
    fault = training_data_fault(described)
    lengths = None if fault else lengths_of(described)
    sizes, times = sizes_of(described, measure), None
    if described.matched != "time":
        check_matched(described, sizes, measure)
    runner = Runner(
        program,
        at_once=described.jobs,
        retry_failed=described.retry_failed,
        fault=fault,
    )
    if described.probe or described.matched == "time":
        times = step_times(described, path, runner, sizes=sizes)
        sizes = with_times(sizes, times)
    if described.matched == "time":
        check_matched(described, sizes, measure)
    show_plan(described, sizes, lengths, times=times, fault=fault)
    if described.plan_only:
        return None
    found = _carried_out(described, path / "runs", runner, sizes=sizes)
    write_whole(epath.Path(path / "study.json"), json.dumps(found, indent=2) + "\n")
    write_whole(epath.Path(path / "study.md"), study_table(found))
    plots = save_plots(found, path)
    show_result(found)
    also = f"; {len(plots)} plots are in {path / 'plots'}" if plots else ""
    print(f"\nstudy.json and study.md are in {path}{also}", flush=True)
    return found


def _carried_out(
    study: Study, runs: pathlib.Path, runner: Runner, *, sizes: Mapping[str, Sequence[Size]]
) -> dict[str, Any]:
    """Tunes, trains with all seeds, scores the test split, and returns the report."""
    tried = trials(study)
    own = own_first(tried, study.shard)
    runner.run([training(run, study, runs) for run in own])
    results = runner.run([training(run, study, runs) for run in tried])
    chosen = choose(tried, results)
    final = finals(study, chosen)
    own = own_first(final, study.shard)
    runner.run([training(run, study, runs) for run in own])
    trained = runner.run([training(run, study, runs) for run in final])
    good = [
        run
        for run, result in zip(final, trained, strict=True)
        if result["status"] == "finished"
    ]
    scores: dict[str, dict[str, Any]] = {run.name: {} for run in final}
    for name in study.evaluations:
        jobs = [scoring(run, study, runs, evaluation=name) for run in good]
        for run, result in zip(good, runner.run(jobs), strict=True):
            scores[run.name][name] = result
    if study.suites:
        jobs = [scoring_under_suites(run, study, runs) for run in good]
        for run, result in zip(good, runner.run(jobs), strict=True):
            for suite in study.suites:
                scores[run.name][suite] = _of_suite(result, suite)
    if study.localization:
        jobs = [scoring_of_views(run, study, runs) for run in good]
        for run, result in zip(good, runner.run(jobs), strict=True):
            scores[run.name][LOCALIZATION] = result
    return report(
        study,
        sizes=sizes,
        chosen=chosen,
        tried=list(zip(tried, results, strict=True)),
        final=[
            (run, result, scores[run.name])
            for run, result in zip(final, trained, strict=True)
        ],
    )


def _of_suite(result: Mapping[str, Any], suite: str) -> dict[str, Any]:
    """Returns the outcome of one suite; a mean that is not finite is no score."""
    score = result["scores"].get(suite)
    if score is not None and not math.isfinite(score):
        return dict(status="diverged", score=None)
    return dict(status=result["status"], score=score)
