"""Draws a study: scores against cost, learning curves, and how sensitive they are."""

import pathlib
from collections.abc import Mapping
from typing import Any

from hybrid_jax.plot_look import can_plot
from hybrid_jax.studies.results.plots.cost_plot import cost_plot
from hybrid_jax.studies.results.plots.curves_plot import curves_plot, validation_curves
from hybrid_jax.studies.results.plots.sensitivity_plot import (
    sensitivity_plot,
    tuned_numbers,
)
from hybrid_jax.studies.short_keys import short_keys


def save_plots(found: Mapping[str, Any], workdir: pathlib.Path) -> list[pathlib.Path]:
    """Writes `plots/*.svg` of a study and returns the files.

    Args:
        found: what `study.json` holds.
        workdir: of the study; the curves are read from the runs below it.

    Returns:
        No file if matplotlib is not installed, which a line on the terminal says.
    """
    if not can_plot():
        return []
    figures = {
        f"score_by_{cost}": cost_plot(found, cost=cost) for cost in ("macs", "seconds")
    }
    figures["curves"] = curves_plot(found, validation_curves(found, workdir / "runs"))
    for key, short in short_keys(tuned_numbers(found)).items():
        figures[f"sensitivity_{short}"] = sensitivity_plot(found, key=key)
    folder = workdir / "plots"
    folder.mkdir(exist_ok=True)
    files = []
    for name, figure in figures.items():
        if figure is None:
            continue
        files.append(folder / f"{name}.svg")
        # Without a date the same study gives the same file.
        figure.savefig(files[-1], bbox_inches="tight", metadata={"Date": None})
    return files
