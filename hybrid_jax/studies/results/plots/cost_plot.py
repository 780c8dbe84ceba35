"""The score of each variant against what it costs, and which are not dominated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hybrid_jax.plot_look import COLORS
from hybrid_jax.studies.results.plots.figure import label_points, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {
    "macs": "million multiply-accumulates per image",
    "seconds": "seconds of a training run",
}


def cost_plot(found: Mapping[str, Any], *, cost: str) -> Figure | None:
    """Returns the mean test score of each variant against its cost.

    Bars are one standard deviation over seeds, if there are several. The line joins the
    Pareto front: variants than which none is both cheaper and better.

    Args:
        found: what `study.json` holds.
        cost: "macs" or "seconds".

    Returns:
        None if no variant has both numbers.
    """
    names, costs, scores, deviations = [], [], [], []
    for name, variant in found["variants"].items():
        amount = variant["macs"] / 1e6 if cost == "macs" else variant["time"]["seconds"]
        if amount is not None and variant["mean"] is not None:
            names.append(name)
            costs.append(amount)
            scores.append(variant["mean"])
            deviations.append(variant["deviation"] or 0.0)
    if not names:
        return None
    first, *others = found["seeds"]
    of_seeds = "mean ± standard deviation" if others else f"seed {first}"
    figure, axes = new_figure(
        title=f"{found['test_split']} {found['score']}, {of_seeds}",
        x_label=_LABELS[cost],
        y_label=found["score"],
    )
    front = pareto_front(costs, scores)
    line = [costs[i] for i in front], [scores[i] for i in front]
    axes.plot(*line, color="#999999", linewidth=1, zorder=1, label="Pareto front")
    axes.errorbar(
        costs, scores, yerr=deviations, fmt="o", color=COLORS[0], capsize=3, zorder=2
    )
    label_points(axes, names, xs=costs, ys=scores)
    axes.legend(loc="best", frameon=False)
    return figure


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Returns the points that none is cheaper and as good as, in the order of cost."""
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i]))
    front: list[int] = []
    for i in order:
        if not front or scores[i] > scores[front[-1]]:
            front.append(i)
    return front
