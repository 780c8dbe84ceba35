"""What each variant came to in one evaluation, and how far it is from its baseline."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.studies.planning.plan import Run
from hybrid_jax.studies.results.intervals import paired_interval

# What became of one run: the run, its training, and its scorings by evaluation.
Outcome = tuple[Run, Mapping[str, Any], Mapping[str, Mapping[str, Any]]]


def compared(
    evaluation: str, baselines: Mapping[str, str], final: Sequence[Outcome]
) -> dict[str, dict[str, Any]]:
    """Returns variant -> mean, deviation and difference from its baseline.

    Of scores of which some are not finite there is no mean.

    Args:
        evaluation: name.
        baselines: variant -> what it is compared with; itself for a baseline.
        final: runs of the chosen settings.
    """
    ends = {name: _ends(name, evaluation, final) for name in baselines}
    bad = {name: sum(s == "diverged" for s in ends[name]) for name in ends}
    scores = {
        name: {} if bad[name] else _scores(name, evaluation, final) for name in baselines
    }
    return {
        name: dict(
            **_summary(scores[name]),
            not_finite=bad[name],
            scorings=len(ends[name]),
            difference=None
            if name == baseline
            else _difference(scores[name], scores[baseline]),
        )
        for name, baseline in baselines.items()
    }


def _ends(variant: str, evaluation: str, final: Sequence[Outcome]) -> list[str]:
    """Returns how the scorings of a variant have ended."""
    return [
        scored[evaluation]["status"]
        for run, _, scored in final
        if run.variant == variant and evaluation in scored
    ]


def _scores(variant: str, evaluation: str, final: Sequence[Outcome]) -> dict[int, float]:
    """Returns seed -> score, of the runs that have one."""
    found = {
        run.seed: scored[evaluation]["score"]
        for run, _, scored in final
        if run.variant == variant and evaluation in scored
    }
    return {seed: score for seed, score in found.items() if score is not None}


def _summary(scores: Mapping[int, float]) -> dict[str, float | None]:
    values = list(scores.values())
    return dict(
        mean=statistics.fmean(values) if values else None,
        deviation=statistics.stdev(values) if len(values) > 1 else None,
    )


def _difference(
    scores: Mapping[int, float], baseline: Mapping[int, float]
) -> dict[str, Any] | None:
    """Returns the interval over the seeds that both have; None without any."""
    seeds = [seed for seed in baseline if seed in scores]
    if not seeds:
        return None
    interval = paired_interval([scores[s] for s in seeds], [baseline[s] for s in seeds])
    return dict(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        pairs=len(seeds),
        excludes_zero=interval.excludes_zero,
    )
