"""What the scores under corruptions come to, alone and against another run."""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from hybrid_jax.errors import UserError
from hybrid_jax.robustness.corruptions import CORRUPTIONS
from hybrid_jax.robustness.passes import CLEAN, Pass

# What two runs must share for their errors to be compared.
_SHARED = ("task", "data", "split", "count", "score", "levels_px")


def summary(
    scores: Mapping[Pass, Mapping[str, float]], *, score: str, severities: Sequence[int]
) -> dict[str, Any]:
    """Returns the scores by corruption and their means.

    Args:
        scores: of every pass.
        score: name of the one that is averaged, higher is better and 1 is perfect.
        severities: of the passes, in order.

    Returns:
        `clean` and `count`; `corruptions`, name -> `likeness`, `mean`, and `by_severity`, a
        list of all scores; `mean_corrupted`, the mean over the standard corruptions (mCA,
        or mPC for boxes and masks); `retained`, its share of the clean score (rPC). Both
        are None without a standard corruption, `retained` also if the clean score is not
        positive.
    """
    names = dict.fromkeys(each.corruption for each in scores if each != CLEAN)
    corruptions = {}
    for name in names:
        rows = [dict(scores[Pass(name, severity)]) for severity in severities]
        corruptions[name] = dict(
            likeness=CORRUPTIONS[name].likeness,
            mean=sum(row[score] for row in rows) / len(rows),
            by_severity=[_without_classes(row) for row in rows],
        )
    standard = _standard(corruptions)
    mean = (
        sum(corruptions[n]["mean"] for n in standard) / len(standard) if standard else None
    )
    clean = scores[CLEAN]
    return dict(
        score=score,
        severities=list(severities),
        count=clean.get("count"),
        clean=_without_classes(clean),
        mean_corrupted=mean,
        retained=mean / clean[score] if mean is not None and clean[score] > 0 else None,
        corruptions=corruptions,
    )


def compared(
    found: Mapping[str, Any], other: Mapping[str, Any], *, baseline: epath.Path
) -> dict[str, Any]:
    """Returns the errors relative to those of another run.

    Args:
        found: `summary`, with `task`, `data`, `split` and `levels_px`.
        other: the same of the baseline.
        baseline: its workdir, for messages.

    Returns:
        `ce`: corruption -> the sum of errors over the severities, divided by that of the
        baseline; `mCE`: its mean over the standard corruptions. None where the baseline
        makes no error.

    Raises:
        UserError: the baseline was measured on something else, or on less.
    """
    for key in _SHARED:
        if found[key] != other.get(key):
            raise UserError(
                f"--baseline: {baseline} was measured with {key}={other.get(key)!r}, this "
                f"run with {found[key]!r}. Measure it again in the same way."
            )
    ce: dict[str, float | None] = {}
    for name in found["corruptions"]:
        errors = _errors(found, name, severities=found["severities"])
        theirs = _errors(other, name, severities=found["severities"])
        if errors is None or theirs is None:
            raise UserError(
                f"--baseline: {baseline} lacks {name!r} at severities "
                f"{found['severities']}. Measure it again, or fewer with --corruptions."
            )
        ce[name] = errors / theirs if theirs > 0 else None
    standard = [ce[name] for name in _standard(ce)]
    known = [value for value in standard if value is not None]
    whole = standard and len(known) == len(standard)
    return dict(ce=ce, mCE=sum(known) / len(known) if whole else None)


def _errors(
    found: Mapping[str, Any], name: str, *, severities: Sequence[int]
) -> float | None:
    """Returns the sum of 1 - score, or None if a severity was not measured."""
    rows = found["corruptions"].get(name, {}).get("by_severity", [])
    scores = dict(zip(found["severities"], rows, strict=False))
    if not set(severities) <= set(scores):
        return None
    return sum(1.0 - scores[severity][found["score"]] for severity in severities)


def _standard(names: Any) -> list[str]:
    return [name for name in names if CORRUPTIONS[name].standard]


def _without_classes(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if "/" not in name}
