"""The validation score over the steps of the final runs of each variant."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hybrid_jax.plot_look import line_look
from hybrid_jax.studies.results.plots.figure import legend_beside, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Variant -> step -> the scores of its seeds.
Curves = Mapping[str, Mapping[int, list[float]]]


def validation_curves(found: Mapping[str, Any], runs: pathlib.Path) -> Curves:
    """Reads the curves of the final runs that have finished and whose files are there.

    Of one that diverged the mean would lose a seed on the way, and jump.
    """
    curves: dict[str, dict[int, list[float]]] = {}
    for run in found["runs"]:
        path = runs / run["name"] / "metrics.jsonl"
        finished = run["final"] and run["validation"]["status"] == "finished"
        if not finished or not path.exists():
            continue
        steps = curves.setdefault(run["variant"], {})
        for line in path.read_text().splitlines():
            row = _row(line)
            if row.get("split") == found["validation_split"] and found["score"] in row:
                steps.setdefault(row["step"], []).append(row[found["score"]])
    return {name: curve for name, curve in curves.items() if curve}


def _row(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return {}  # half a line, of a run that was killed


def curves_plot(found: Mapping[str, Any], curves: Curves) -> Figure | None:
    """Returns the mean curve of each variant; None without any."""
    if not curves:
        return None
    figure, axes = new_figure(
        title=f"{found['validation_split']} {found['score']}, mean over seeds",
        x_label="step",
        y_label=found["score"],
    )
    for number, (name, curve) in enumerate(curves.items()):
        steps = sorted(curve)
        means = [statistics.fmean(curve[step]) for step in steps]
        axes.plot(steps, means, label=name, markersize=4, **line_look(number))
    legend_beside(axes)
    return figure
