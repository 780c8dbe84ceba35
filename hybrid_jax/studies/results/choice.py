"""Which setting of each variant is the best on validation."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.studies.planning.plan import Run


def choose(
    runs: Sequence[Run], results: Sequence[Mapping[str, Any]]
) -> dict[str, Mapping[str, Any] | None]:
    """Returns variant -> setting; None where no trial was finished.

    Of equal scores the first in the grid's order is taken.

    Args:
        runs: all trials.
        results: of `Job.result`, in the same order.
    """
    chosen: dict[str, Mapping[str, Any] | None] = {}
    best: dict[str, float] = {}
    for run, result in zip(runs, results, strict=True):
        chosen.setdefault(run.variant, None)
        score = result["score"]
        if result["status"] != "finished":
            continue
        if run.variant not in best or score > best[run.variant]:
            best[run.variant] = score
            chosen[run.variant] = run.setting
    return chosen


def at_an_edge(
    setting: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Returns the keys whose chosen number is the least or the greatest that was tried."""
    edges = []
    for key, value in setting.items():
        tried = {other[key] for other in settings}
        numbers = all(isinstance(number, int | float) for number in tried)
        if len(tried) > 1 and numbers and value in (min(tried), max(tried)):
            edges.append(key)
    return edges
