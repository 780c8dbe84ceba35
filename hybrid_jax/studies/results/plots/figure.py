"""What the plots of a study have in common: size, legend and the labels of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hybrid_jax.plot_look import open_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(*, title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Returns an empty figure with its axes, grid and labels."""
    # Figures by themselves need no window, and pyplot would keep them all.
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "study"
    figure = Figure(figsize=(7.5, 4.8))
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    open_axes(axes)
    return figure, axes


def legend_beside(axes: Axes) -> None:
    """Puts the legend to the right of the axes, where it hides nothing."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def label_points(
    axes: Axes, names: Sequence[str], *, xs: Sequence[float], ys: Sequence[float]
) -> None:
    """Writes names at points, in turn above and below, so that neighbors stay legible."""
    order = sorted(range(len(names)), key=lambda i: (xs[i], ys[i]))
    for turn, i in enumerate(order):
        axes.annotate(
            names[i],
            (xs[i], ys[i]),
            xytext=(6, 6 if turn % 2 == 0 else -12),
            textcoords="offset points",
            fontsize=8,
        )
