"""What the scores of the passes come to, alone and against other runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.robustness.corruptions import CORRUPTIONS
from hybrid_jax.robustness.passes import CLEAN, Pass
from hybrid_jax.robustness.suites import SUITES

Found = Mapping[Pass, Mapping[str, float]]
_CORRUPTIONS = "corruptions"


def summary(found: Found, passes: Sequence[Pass], *, score: str) -> dict[str, Any]:
    """Returns the scores by suite and the means of the corruptions.

    Args:
        found: scores of all passes, and maybe of others.
        passes: those that are reported, with the clean one.
        score: name of the one that is averaged, higher is better and 1 is perfect.

    Returns:
        `score`, `count` and `clean`; `suites`, name -> `axis`, `neutral` and `lines`, name
        -> `strengths`, `scores`, a list of all scores, and `mean`, that of `score`; with
        corruptions `mean_corrupted`, the mean over the standard ones (mCA, or mPC for boxes
        and masks), and `retained`, its share of the clean score (rPC). Both are None
        without a standard corruption, `retained` also if the clean score is not positive.
    """
    suites: dict[str, Any] = {}
    for each in passes:
        if each == CLEAN:
            continue
        kind = SUITES.get(each.suite)
        empty = dict(axis=kind.axis, neutral=kind.neutral, lines={})
        lines = suites.setdefault(each.suite, empty)["lines"]
        line = lines.setdefault(each.line, dict(strengths=[], scores=[]))
        line["strengths"].append(each.strength)
        line["scores"].append(_without_classes(found[each]))
    for suite in suites.values():
        for line in suite["lines"].values():
            line["mean"] = _mean([scores[score] for scores in line["scores"]])
    clean = _without_classes(found[CLEAN])
    whole = dict(score=score, count=clean.get("count"), clean=clean, suites=suites)
    if _CORRUPTIONS not in suites:
        return whole
    lines = suites[_CORRUPTIONS]["lines"]
    means = [line["mean"] for name, line in lines.items() if CORRUPTIONS[name].standard]
    mean = _mean(means) if means else None
    retained = mean / clean[score] if mean is not None and clean[score] > 0 else None
    return whole | dict(mean_corrupted=mean, retained=retained)


def compared(found: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the errors under corruptions relative to those of another run.

    Args:
        found: `summary` of a run; an error is 1 - score.
        other: that of the baseline, of the same passes.

    Returns:
        `ce`: corruption -> the sum of errors over the severities, divided by that of the
        baseline; `mCE`: its mean over the standard corruptions. None where the baseline
        makes no error, and `mCE` without a standard corruption.
    """
    ce: dict[str, float | None] = {}
    ours, theirs = (run["suites"].get(_CORRUPTIONS, {}) for run in (found, other))
    for name, line in ours.get("lines", {}).items():
        # Both means are over the same severities.
        error, of_baseline = 1.0 - line["mean"], 1.0 - theirs["lines"][name]["mean"]
        ce[name] = error / of_baseline if of_baseline > 0 else None
    standard = [value for name, value in ce.items() if CORRUPTIONS[name].standard]
    known = [value for value in standard if value is not None]
    whole = bool(standard) and len(known) == len(standard)
    return dict(ce=ce, mCE=_mean(known) if whole else None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _without_classes(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if "/" not in name}
