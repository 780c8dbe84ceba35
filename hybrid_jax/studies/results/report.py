"""`study.json`: every run of a study, and what each variant came to."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.studies.planning.plan import Run
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.results.choice import at_an_edge
from hybrid_jax.studies.results.comparison import Outcome, compared
from hybrid_jax.studies.results.localization import localized
from hybrid_jax.studies.settings import Study


def report(
    study: Study,
    *,
    sizes: Mapping[str, Sequence[Size]],
    chosen: Mapping[str, Mapping[str, Any] | None],
    tried: Sequence[tuple[Run, Mapping[str, Any]]],
    final: Sequence[Outcome],
) -> dict[str, Any]:
    """Returns a study and its results as plain values for JSON.

    Only what is called `time` depends on the machine and on interruptions.

    Args:
        sizes: variant -> of the model with each setting.
        chosen: variant -> setting; None without a finished trial.
        tried: trials and their results.
        final: runs of the chosen settings.
    """
    names = [*study.evaluations, *study.suites]
    by_evaluation = {name: compared(name, study.baselines, final) for name in names}
    views = localized(study, final) if study.localization else None
    variants = {}
    for name, setting in chosen.items():
        rows = [row for row in final if row[0].variant == name]
        settings = study.settings[name]
        size = sizes[name][settings.index(setting) if setting is not None else 0]
        variants[name] = dict(
            changes=dict(study.variants[name]),
            baseline=study.baselines[name],
            params=size.params,
            macs=size.macs,
            setting=setting,
            edges=[] if setting is None else at_an_edge(setting, settings),
            seeds=len(study.seeds),
            outcomes=_outcomes(rows, [row for row in tried if row[0].variant == name]),
            **by_evaluation[study.test_split][name],
            evaluations={
                evaluation: by_variant[name]
                for evaluation, by_variant in _but_test(by_evaluation, study).items()
            },
            **(dict(localization=views[name]) if views else {}),
            time=_time(rows),
        )
    return dict(
        baseline=study.baseline,
        score=study.score,
        validation_split=study.validation_split,
        test_split=study.test_split,
        matched=study.matched,
        tolerance=study.tolerance,
        seeds=list(study.seeds),
        trials=len(study.settings[study.baseline]),
        variants=variants,
        evaluations=_but_test(study.evaluations, study),
        suites=list(study.suites),
        localization=study.localization,
        runs=_runs(tried, final, study),
    )


def _but_test(evaluations: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """Returns all but that of the test split, which has a place of its own."""
    return {name: one for name, one in evaluations.items() if name != study.test_split}


def _outcomes(
    final: Sequence[Outcome], tried: Sequence[tuple[Run, Mapping[str, Any]]]
) -> dict[str, dict[str, int]]:
    """Returns how many trials and final runs ended in which way; of scorings, the worst."""
    counts: dict[str, dict[str, int]] = dict(trials={}, final={})
    for _, result in tried:
        _count(counts["trials"], result["status"])
    for _, trained, scored in final:
        ends = [one["status"] for one in (trained, *scored.values())]
        bad = [status for status in ends if status != "finished"]
        _count(counts["final"], (bad or ends)[0])
    return counts


def _count(counts: dict[str, int], status: str) -> None:
    counts[status] = counts.get(status, 0) + 1


def _time(final: Sequence[Outcome]) -> dict[str, float | None]:
    """Returns the mean time of the final runs; an interrupted one has none."""
    times = [
        trained["time"]
        for _, trained, _ in final
        if trained["status"] == "finished" and not trained["time"]["resumed"]
    ]
    speeds = [time["images_per_second"] for time in times if "images_per_second" in time]
    return dict(
        seconds=statistics.fmean(time["seconds"] for time in times) if times else None,
        images_per_second=statistics.fmean(speeds) if speeds else None,
    )


def _runs(
    tried: Sequence[tuple[Run, Mapping[str, Any]]],
    final: Sequence[Outcome],
    study: Study,
) -> list[dict[str, Any]]:
    """Returns every run once, in the order of the plan."""
    rows: dict[str, dict[str, Any]] = {}
    for run, result in tried:
        rows[run.name] = dict(
            _row(run, result), trial=True, final=False, test=None, evaluations={}
        )
    for run, result, scored in final:
        row = rows.setdefault(run.name, dict(_row(run, result), trial=False))
        others = {name: _without_time(one) for name, one in scored.items()}
        row.update(final=True, test=others.pop(study.test_split, None), evaluations=others)
    return list(rows.values())


def _row(run: Run, result: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        name=run.name,
        variant=run.variant,
        setting=dict(run.setting),
        seed=run.seed,
        validation=_without_time(result),
        time=result["time"],
    )


def _without_time(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "time"}
