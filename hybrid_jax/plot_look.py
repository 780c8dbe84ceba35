"""How plots look: colors, marks and dashes of lines, and axes without a frame."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008): told apart in any common kind of color blindness. Marks and dashes
# differ too, for print without color.
COLORS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7"),
    *("#D55E00", "#56B4E9", "#000000", "#B8A800"),
)
MARKS = "osD^vPX*"
DASHES = ("-", "--", ":")
ABSENT = "no plots: matplotlib is not installed (pip install -e '.[plots]')"


def has_matplotlib() -> bool:
    """Returns whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def can_plot() -> bool:
    """Returns whether matplotlib is installed; if not, says so on the terminal."""
    found = has_matplotlib()
    if not found:
        print(ABSENT, flush=True)
    return found


def line_look(number: int) -> dict[str, Any]:
    """Returns color, mark and dashes of a line: different for the first 24."""
    turn = number // len(COLORS)
    return dict(
        color=COLORS[number % len(COLORS)],
        marker=MARKS[(number + turn) % len(MARKS)],
        linestyle=DASHES[turn % len(DASHES)],
    )


def open_axes(axes: Axes) -> None:
    """Draws a light grid behind everything, and no frame above and to the right."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
