"""The validation score of the trials over a number that was tuned, such as the rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hybrid_jax.plot_look import line_look
from hybrid_jax.studies.results.plots.figure import legend_beside, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tuned_numbers(found: Mapping[str, Any]) -> list[str]:
    """Returns the keys that were tried with several numbers."""
    values: dict[str, list[Any]] = {}
    for run in found["runs"]:
        if run["trial"]:
            for key, value in run["setting"].items():
                values.setdefault(key, []).append(value)
    return [
        key
        for key, tried in values.items()
        if all(map(_is_number, tried)) and len(set(tried)) > 1
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def sensitivity_plot(found: Mapping[str, Any], *, key: str) -> Figure:
    """Returns the best score of each variant at each value of `key`.

    Trials that did not finish have no point, and break the line.

    Args:
        found: what `study.json` holds.
        key: dotted, one of `tuned_numbers`.
    """
    figure, axes = new_figure(
        title=f"{found['validation_split']} {found['score']} of the trials",
        x_label=key,
        y_label=found["score"],
    )
    for number, name in enumerate(found["variants"]):
        best = _best(found, name, key)
        values = sorted(best)
        scores = [best[value] for value in values]
        axes.plot(values, scores, label=name, markersize=5, **line_look(number))
    tried = sorted({r["setting"][key] for r in found["runs"] if key in r["setting"]})
    if tried[0] > 0 and tried[-1] >= 4 * tried[0]:
        axes.set_xscale("log")
    axes.set_xticks(tried, [f"{value:g}" for value in tried])
    axes.set_xticks([], minor=True)
    legend_beside(axes)
    return figure


def _best(found: Mapping[str, Any], variant: str, key: str) -> dict[float, float]:
    """Returns value -> the best score of its trials; not a number without any."""
    best: dict[float, float] = {}
    for run in found["runs"]:
        if not run["trial"] or run["variant"] != variant or key not in run["setting"]:
            continue
        score = run["validation"]["score"]
        before = best.setdefault(run["setting"][key], math.nan)
        if score is not None and not score <= before:  # true also of no number
            best[run["setting"][key]] = score
    return best
