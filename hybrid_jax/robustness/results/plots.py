"""Plots of score against strength, one picture for each suite."""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from hybrid_jax.plot_look import can_plot, line_look, open_axes

_PANEL_INCHES = (3.0, 2.4)
_ONE_PANEL_INCHES = (6.4, 4.0)
_MOST_COLUMNS = 5
_DPI = 130

Runs = Mapping[str, Mapping[str, Any]]
"""Name in the legend -> `summary` of the run; all have the same suites and strengths."""


def write_plots(runs: Runs, workdir: epath.Path) -> list[epath.Path]:
    """Writes `robustness_<suite>.png` for each suite; says so in a line if it cannot.

    Args:
        runs: the run and its baselines, in the order of the legend.
        workdir: where the pictures go.

    Returns:
        The files; none without matplotlib.
    """
    if not can_plot():
        return []
    written = []
    for suite in next(iter(runs.values()))["suites"]:
        picture = io.BytesIO()
        _figure(runs, suite).savefig(picture, format="png", dpi=_DPI)
        written.append(workdir / f"robustness_{suite}.png")
        written[-1].write_bytes(picture.getvalue())
    return written


def legend_names(workdirs: Sequence[str]) -> list[str]:
    """Returns short names of workdirs: the last folder, or all where that is not enough."""
    short = [epath.Path(workdir).name or workdir for workdir in workdirs]
    return short if len(set(short)) == len(set(workdirs)) else list(workdirs)


def curve(found: Mapping[str, Any], suite: str, line: str) -> tuple[list, list]:
    """Returns strengths and scores of a line, with the clean score at the neutral one."""
    score, kind = found["score"], found["suites"][suite]
    of_line = kind["lines"][line]
    scores = [scores[score] for scores in of_line["scores"]]
    points = list(zip(of_line["strengths"], scores, strict=True))
    if kind["neutral"] is not None:
        points.append((kind["neutral"], found["clean"][score]))
    strengths, scores = zip(*sorted(points), strict=True)
    return list(strengths), list(scores)


def _figure(runs: Runs, suite: str) -> Any:
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    first = next(iter(runs.values()))
    kind = first["suites"][suite]
    lines = list(kind["lines"])
    columns = min(len(lines), _MOST_COLUMNS)
    rows = -(-len(lines) // columns)
    width, height = _ONE_PANEL_INCHES if len(lines) == 1 else _PANEL_INCHES
    size = (max(width * columns, 6.4), height * rows + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for panel, line in itertools.zip_longest(panels.flat, lines):
        if line is None:
            panel.set_visible(False)
            continue
        _draw(panel, runs, suite, line)
        panel.set_title(line.replace("_", " "), fontsize=10)
    curves = [curve(run, suite, line)[1] for run in runs.values() for line in lines]
    panels.flat[0].set_ylim(0.0, 1.06 * max(map(max, curves)) or 1.0)  # all share it
    for panel in panels[:, 0]:
        panel.set_ylabel(first["score"])
    figure.supxlabel(kind["axis"], fontsize=10)
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=min(len(names), 4), frameon=False
    )
    return figure


def _draw(panel: Any, runs: Runs, suite: str, line: str) -> None:
    for number, (name, found) in enumerate(runs.items()):
        strengths, scores = curve(found, suite, line)
        panel.plot(
            strengths, scores, label=name, markersize=4, linewidth=1.6, **line_look(number)
        )
    open_axes(panel)
