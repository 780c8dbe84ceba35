"""How often predictions are right that are as sure as they say, as bars."""

from collections.abc import Sequence

from hybrid_jax.train.report_page.markup import Html, element, table
from hybrid_jax.train.report_page.numbers import per_cent, shown

_SIDE, _LEFT, _TOP, _BOTTOM = 250, 44, 8, 36


def calibration_chart(bins: Sequence[Sequence[float]], *, right: str) -> Html:
    """Returns a reliability diagram (Guo et al., 2017); nothing without predictions.

    Args:
        bins: (count, mean confidence, share correct) of equal parts of [0, 1].
        right: what a correct prediction is, in words.
    """
    total = sum(count for count, _, _ in bins)
    if not total:
        return Html("")
    error = sum(n * abs(sure - correct) for n, sure, correct in bins) / total
    parts = _grid()
    for number, (count, sure, correct) in enumerate(bins):
        if count:
            parts.append(
                _bar(number, len(bins), count=int(count), sure=sure, right=correct)
            )
    a, b = (_LEFT, _TOP + _SIDE), (_LEFT + _SIDE, _TOP)
    parts.append(element("line", class_="ideal", x1=a[0], y1=a[1], x2=b[0], y2=b[1]))
    size = f"0 0 {_LEFT + _SIDE + 12} {_TOP + _SIDE + _BOTTOM}"
    words = f"Calibration: the expected error is {per_cent(error)}"
    picture = element("svg", *parts, viewBox=size, role="img", aria_label=words)
    rows = [
        [f"{n / len(bins):.2f} to {(n + 1) / len(bins):.2f}", *map(shown, row)]
        for n, row in enumerate(bins)
        if row[0]
    ]
    head = ["confidence", "predictions", "mean confidence", right]
    numbers = table(head, rows, label="Calibration: numbers")
    caption = f" expected error {per_cent(error)}; on the dashed line confidence is right"
    return element(
        "figure",
        element("figcaption", "Calibration", element("small", caption)),
        picture,
        element("details", element("summary", "Numbers"), numbers),
        class_="calibration",
    )


def _bar(number: int, count_of_bins: int, *, count: int, sure: float, right: float) -> Html:
    """Returns the bar of a bin, with a mark at its mean confidence."""
    width = _SIDE / count_of_bins
    x, y = _LEFT + number * width, _TOP + (1 - right) * _SIDE
    mark = _TOP + (1 - sure) * _SIDE
    title = element("title", f"{count:,} predictions: sure {sure:.3f}, right {right:.3f}")
    bar = element(
        "rect",
        class_="bar",
        x=round(x + 1, 1),
        y=round(y, 1),
        width=round(width - 2, 1),
        height=round(max(right * _SIDE, 1.0), 1),
    )
    sure_line = element(
        "line",
        class_="sure",
        x1=round(x, 1),
        x2=round(x + width, 1),
        y1=round(mark, 1),
        y2=round(mark, 1),
    )
    return element("g", title, bar, sure_line)


def _grid() -> list[Html]:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _LEFT + tick * _SIDE, _TOP + (1 - tick) * _SIDE
        parts += [
            element("line", class_="grid", x1=_LEFT, x2=_LEFT + _SIDE, y1=y, y2=y),
            element("text", f"{tick:g}", x=_LEFT - 5, y=y + 4, text_anchor="end"),
            element("text", f"{tick:g}", x=x, y=_TOP + _SIDE + 15, text_anchor="middle"),
        ]
    middle, low = _LEFT + _SIDE / 2, _TOP + _SIDE + 31
    label = element("text", "confidence", x=middle, y=low, text_anchor="middle")
    return [*parts, label]
