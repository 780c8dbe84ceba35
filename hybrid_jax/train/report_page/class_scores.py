"""The scores of each class, and which classes are taken for which."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.train.report_page.markup import Html, element, table
from hybrid_jax.train.report_page.numbers import is_share, per_cent, shown

_LEGIBLE = 0.55  # share of color in a cell from which its text is white
_WITH_TEXT = 16  # classes up to which the cells of a confusion matrix have their counts


def class_table(found: Mapping[str, Any]) -> Html:
    """Returns the table of the scores of each class, sortable, with bars in its cells.

    Args:
        found: `columns` and `rows`, see `tasks/findings.py`.
    """
    columns = found["columns"]
    rows = [[row[0], *map(score_cell, columns[1:], row[1:])] for row in found["rows"]]
    return table(columns, rows, kind="sortable classes", label="Scores of each class")


def confusion_table(found: Mapping[str, Any]) -> Html:
    """Returns the confusion matrix, colored by the shares of each true class.

    Args:
        found: `names`, `counts` and `unit`, see `tasks/findings.py`.
    """
    names, counts = found["names"], found["counts"]
    head = ["true \\ predicted", *(element("span", name) for name in names)]
    rows = []
    for k, row in enumerate(counts):
        total = max(sum(row), 1)
        cells = [
            _confused(value, value / total, names=(names[k], names[n]), is_right=n == k)
            if value
            else element("td")
            for n, value in enumerate(row)
        ]
        rows.append([names[k], *cells])
    kind = "confusion" if len(names) <= _WITH_TEXT else "confusion small"
    made = table(head, rows, kind=kind, label="Confusion matrix")
    unit = found["unit"]
    note = f" per cent of the {unit} of a true class (row), by predicted class (column)"
    return element(
        "figure",
        element("figcaption", "Confusion matrix", element("small", note)),
        made,
        class_="wide",
    )


def confused_table(pairs: Sequence[Sequence[Any]], *, unit: str) -> Html:
    """Returns the most frequent mistakes (true, predicted, count); nothing without any."""
    if not pairs:
        return Html("")
    rows = [[true, predicted, shown(count)] for true, predicted, count in pairs]
    made = table(["true", "predicted", unit], rows, label="Most frequent mistakes")
    return element("figure", element("figcaption", "Most frequent mistakes"), made)


def score_cell(column: str, value: Any) -> Html:
    """Returns the cell of a score; of a share with a bar and in per cent.

    Args:
        column: name of the score.
        value: of it; None if it is not known.
    """
    sorts = -1.0 if value is None else value
    if value is None or not is_share(column):
        return element("td", shown(value), data_value=sorts)
    share = max(0.0, min(1.0, value))
    return element(
        "td",
        per_cent(value),
        data_value=sorts,
        class_="share",
        style=f"--share:{100 * share:.1f}%",
    )


def _confused(value: int, share: float, *, names: tuple[str, str], is_right: bool) -> Html:
    words = ["right" if is_right else "wrong"] + (["strong"] if share > _LEGIBLE else [])
    percent = 100 * share
    text = f"{percent:.0f}" if percent >= 1 else "<1"
    return element(
        "td",
        text,
        class_=" ".join(words),
        style=f"--share:{percent:.1f}%",
        title=f"{names[0]} predicted as {names[1]}: {value:,} ({percent:.1f} %)",
    )
