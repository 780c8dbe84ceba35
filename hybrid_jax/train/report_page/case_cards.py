"""Examples with what was predicted for them, as cards."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.train.report_page.markup import Html, element
from hybrid_jax.train.report_page.numbers import per_cent

_SCORES = dict(detection="panoptic quality", segmentation="mean IoU")
_SHOWN_LABELS = 3


def case_cards(title: str, cases: Sequence[Mapping[str, Any]], *, task: str) -> Html:
    """Returns cards of cases; nothing without any.

    Args:
        title: of them.
        cases: of `findings.json`.
        task: name of the task.
    """
    if not cases:
        return Html("")
    cards = [_card(case, score=_SCORES.get(task)) for case in cases]
    kind = "cards" if "truth" in cases[0] else "cards large"
    kind = "cards pairs" if len(cases[0]["pictures"]) > 1 else kind
    return element("div", element("h3", title), element("div", *cards, class_=kind))


def _card(case: Mapping[str, Any], *, score: str | None) -> Html:
    pictures = [
        element(
            "figure",
            element(
                "img",
                src=_picture(picture["src"]),
                alt=f"{case['name']}, {picture['title']}",
                loading="lazy",
            ),
            element("figcaption", picture["title"]) if len(case["pictures"]) > 1 else None,
        )
        for picture in case["pictures"]
    ]
    lines = [element("p", case["name"], class_="name")]
    if score and "score" in case:
        lines.append(element("p", f"{score} {per_cent(case['score'])}"))
    if "truth" in case:
        lines.append(element("p", "is ", element("b", case["truth"])))
        labels = case.get("labels", [])[:_SHOWN_LABELS]
        lines += [_label(row, truth=case["truth"]) for row in labels]
    return element(
        "article", element("div", *pictures, class_="pictures"), *lines, class_="card"
    )


def _label(row: Mapping[str, Any], *, truth: str) -> Html:
    """Returns a line with the name of a class over a bar of its probability."""
    percent = 100 * row["probability"]
    is_right = row["name"] == truth
    return element(
        "p",
        element("span", f"{'✓' if is_right else '✗'} {row['name']}"),
        element("span", f"{percent:.0f} %"),
        class_="label right" if is_right else "label wrong",
        style=f"--share:{percent:.1f}%",
    )


def _picture(src: str) -> str:
    """Returns the address of a picture, if it is one that needs no network."""
    return src if src.startswith("data:image/") else "data:,"
