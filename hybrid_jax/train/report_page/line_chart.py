"""Lines over steps as SVG: a picture by itself, and with the page's script one to ask."""

from collections.abc import Sequence
from typing import NamedTuple

from hybrid_jax.train.report_page.axis import Axis, axis_over, tick_text
from hybrid_jax.train.report_page.markup import Html, data_script, element, joined, table
from hybrid_jax.train.report_page.numbers import shown

COLORS = 8  # of the style sheet; distinguishable by color-blind people with the dashes
_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 10, 38  # margins
_POINTS = 300  # of a line; there are not more px
_ROWS = 20  # of the table of numbers
_DASHES = ("", "7 3", "2 3", "10 3 2 3")
_LOG_FACTOR = 50  # values that differ by more are drawn on a logarithmic axis


class Series(NamedTuple):
    """A line.

    Attributes:
        name: of it.
        points: (x, y), finite, in the order of x.
    """

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_range: tuple[float, float] | None = None,
    may_be_log: bool = False,
    note: str = "",
) -> Html:
    """Returns a figure of lines with legend, readout and numbers; nothing without points.

    Args:
        title: of the figure.
        series: the lines.
        x_label: of the axis.
        y_range: of the other one; None fits it to the points.
        may_be_log: whether it may be logarithmic, if all are positive and far apart.
        note: after the title.
    """
    series = [Series(s.name, _thinned(s.points)) for s in series if s.points]
    if not series:
        return Html("")
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    is_log = may_be_log and min(ys) > 0.0 and max(ys) > _LOG_FACTOR * min(ys)
    x_axis = axis_over(xs, count=4)
    if len(set(xs)) > 1 and min(xs) >= 0.0:
        x_axis = Axis(x_axis.low, max(xs), tuple(t for t in x_axis.ticks if t <= max(xs)))
    y_axis = axis_over(y_range or ys, count=5, is_log=is_log)
    note = ", ".join(words for words in (note, "logarithmic" * is_log) if words)
    lines = [_line(s, n, x_axis, y_axis) for n, s in enumerate(series)]
    picture = element(
        "svg",
        _grid(x_axis, y_axis, x_label=x_label),
        *lines,
        element("line", class_="cursor", x1=0, x2=0, y1=_TOP, y2=_HEIGHT - _BOTTOM),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=_in_words(title, series),
    )
    values = [[[_short(x), _short(y)] for x, y in s.points] for s in series]
    return element(
        "figure",
        element("figcaption", title, element("small", f" {note}") if note else None),
        _legend(series),
        picture,
        element("output", Html("&nbsp;"), class_="readout", aria_live="polite"),
        _numbers(series, x_label=x_label, title=title),
        data_script(dict(x=x_label, names=[s.name for s in series], values=values)),
        class_="chart",
        tabindex="0",
        aria_label=f"{title}: arrow keys read values",
    )


def _line(series: Series, number: int, x_axis: Axis, y_axis: Axis) -> Html:
    places = [(_x(x, x_axis), _y(y, y_axis)) for x, y in series.points]
    look = dict(
        class_=f"series c{number % COLORS}",
        stroke_dasharray=_DASHES[number // 2 % len(_DASHES)] or None,
        data_series=number,
    )
    line = element("polyline", points=" ".join(f"{x},{y}" for x, y in places), **look)
    if len(places) > 25:
        return line
    dots = [
        element("circle", cx=x, cy=y, r=3, class_=look["class_"], data_series=number)
        for x, y in places
    ]
    return joined(line, *dots)


def _grid(x_axis: Axis, y_axis: Axis, *, x_label: str) -> Html:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y_axis.ticks:
        y = _y(tick, y_axis)
        parts += [
            element("line", class_="grid", x1=_LEFT, x2=right, y1=y, y2=y),
            element("text", tick_text(tick), x=_LEFT - 5, y=y + 4, text_anchor="end"),
        ]
    for tick in x_axis.ticks:
        x = _x(tick, x_axis)
        anchor = "end" if x > right - 12 else "middle"
        parts += [
            element("line", class_="grid", x1=x, x2=x, y1=bottom, y2=bottom + 4),
            element("text", tick_text(tick), x=x, y=bottom + 17, text_anchor=anchor),
        ]
    middle = (_LEFT + right) / 2
    label = element("text", x_label, x=middle, y=_HEIGHT - 4, text_anchor="middle")
    return joined(*parts, label)


def _legend(series: Sequence[Series]) -> Html | None:
    if len(series) < 2:
        return None
    entries = []
    for n, s in enumerate(series):
        dash = _DASHES[n // 2 % len(_DASHES)] or None
        line = element("line", x1=1, x2=25, y1=5, y2=5, stroke_dasharray=dash)
        swatch = element(
            "svg",
            line,
            class_=f"swatch c{n % COLORS}",
            viewBox="0 0 26 10",
            aria_hidden="true",
        )
        entries.append(
            element(
                "button", swatch, s.name, type="button", aria_pressed="true", data_series=n
            )
        )
    return element("div", *entries, class_="legend")


def _numbers(series: Sequence[Series], *, x_label: str, title: str) -> Html:
    """Returns the values as a table, for those who cannot see or point at lines."""
    every = sorted({x for s in series for x, _ in s.points})
    count = min(_ROWS, len(every))
    picked = {every[round(i * (len(every) - 1) / max(count - 1, 1))] for i in range(count)}
    known = [dict(s.points) for s in series]
    rows = [
        [shown(_short(x)), *(shown(values.get(x)) for values in known)]
        for x in sorted(picked)
    ]
    made = table([x_label, *(s.name for s in series)], rows, label=f"{title}: numbers")
    return element("details", element("summary", "Numbers"), made)


def _in_words(title: str, series: Sequence[Series]) -> str:
    parts = [
        f"{s.name} from {shown(s.points[0][1])} to {shown(s.points[-1][1])}" for s in series
    ]
    return f"{title}: {'; '.join(parts)}"


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns means over equal stretches where there are more points than px."""
    if len(points) <= _POINTS:
        return list(points)
    bounds = [round(i * len(points) / _POINTS) for i in range(_POINTS + 1)]
    stretches = [points[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in stretches]


def _x(value: float, axis: Axis) -> float:
    return round(_LEFT + axis.place(value) * (_WIDTH - _RIGHT - _LEFT), 1)


def _y(value: float, axis: Axis) -> float:
    return round(_HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _BOTTOM - _TOP), 1)


def _short(value: float) -> float:
    return float(f"{value:.5g}") if abs(value) < 1e5 else value
