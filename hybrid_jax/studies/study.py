"""`--mode=study`: compares variants of an experiment, each tuned alike, over seeds."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.studies.choice import choose
from hybrid_jax.studies.job import PROGRAM, scoring, scoring_under_suites, training
from hybrid_jax.studies.matching import check_matched
from hybrid_jax.studies.plan import finals, number_of_runs, own_first, trials
from hybrid_jax.studies.plots.save_plots import save_plots
from hybrid_jax.studies.probe import expected_seconds, seconds_per_run
from hybrid_jax.studies.report import report
from hybrid_jax.studies.runner import Runner
from hybrid_jax.studies.settings import Study, study_of
from hybrid_jax.studies.sizes import Size, SizeOf, size_of, sizes_of
from hybrid_jax.studies.table import study_table
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
        UserError: see `study_of`, `check_matched` and `Runner.run`.
    """
    described = study_of(config)
    path = pathlib.Path(workdir).expanduser().absolute()
    sizes = sizes_of(described, measure)
    check_matched(described, sizes, measure)
    runner = Runner(program, at_once=described.jobs, retry_failed=described.retry_failed)
    print(_plan(described, sizes), flush=True)
    if described.probe:
        print(_expected(described, seconds_per_run(described, path, runner)), flush=True)
    if described.plan_only:
        return None
    found = _carried_out(described, path / "runs", runner, sizes=sizes)
    table = study_table(found)
    write_whole(epath.Path(path / "study.json"), json.dumps(found, indent=2) + "\n")
    write_whole(epath.Path(path / "study.md"), table)
    plots = save_plots(found, path)
    also = f"; {len(plots)} plots are in {path / 'plots'}" if plots else ""
    print(f"\n{table}\nstudy.json and study.md are in {path}{also}", flush=True)
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
                score = result["scores"].get(suite)
                scores[run.name][suite] = dict(status=result["status"], score=score)
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


def _plan(study: Study, sizes: Mapping[str, Sequence[Size]]) -> str:
    """Returns the variants, their trials and sizes, and how many runs they make."""
    names = [f"{name}{' (baseline)' * (name == study.baseline)}" for name in study.variants]
    width = max(map(len, names))
    lines = [f"{'variant':{width}}  {'params':>12}  {'GMAC':>9}  trials"]
    for name, variant in zip(names, study.variants, strict=True):
        size, count = sizes[variant][0], len(study.settings[variant])
        row = f"{name:{width}}  {size.params:>12,}  {size.macs / 1e9:>9.4f}  {count:>6}"
        lines.append(row)
    seeds = ", ".join(map(str, study.seeds))
    lines.append(
        f"{number_of_runs(study)} runs, {study.jobs} at a time: trials with seed "
        f"{study.seeds[0]} on {study.validation_split!r}, the best of each variant with "
        f"seeds {seeds}, then {study.test_split!r} once"
    )
    return "\n".join(lines)


def _expected(study: Study, of_run: dict[str, float | None]) -> str:
    lines = [
        f"a run of {variant}: {'the probe failed' if s is None else f'about {s:,.0f} s'}"
        for variant, s in of_run.items()
    ]
    total = expected_seconds(study, of_run)
    if total is not None:
        lines.append(f"all runs: about {total / 60:,.1f} min, evaluations not counted")
    return "\n".join(lines)
