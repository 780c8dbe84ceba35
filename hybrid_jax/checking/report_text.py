"""What `--mode=check` prints: a table of the splits, faults, remarks."""

from collections.abc import Mapping, Sequence
from typing import Any

_CLASSES_SHOWN = 30
_SHOWN = 3  # examples of a kind of fault
_SPREAD = ("min", "median", "max")
_BETWEEN = " / "
_WORD = {"label": "images", "boxes": "objects", "segmentation": "pixels"}


def report_text(
    summaries: Mapping[str, Mapping[str, Any]], *, target: str, remarks: Sequence[str]
) -> str:
    """Returns lines for the terminal.

    Args:
        summaries: split -> see `summary_of`.
        target: "label", "boxes" or "segmentation".
        remarks: sentences.
    """
    rows = [("", list(summaries))]
    rows.append(("images", [f"{s['examples']:,}" for s in summaries.values()]))
    unread = [s["examples"] - s["readable"] for s in summaries.values()]
    if any(unread):
        rows.append(("  cannot be read", [f"{count:,}" for count in unread]))
    for words, key in (
        ("height, px", "height_px"),
        ("width, px", "width_px"),
        ("boxes in an image", "boxes_per_image"),
        ("side of a box, px", "box_side_px"),
    ):
        if any(key in s for s in summaries.values()):
            rows.append((words, [_span(s.get(key)) for s in summaries.values()]))
    if target == "boxes":
        empty = [f"{s['images_without_boxes']:,}" for s in summaries.values()]
        rows.append(("images without boxes", empty))
    rows += _class_rows(summaries, target=target)
    lines = [_table(rows)]
    if any(_BETWEEN in cell for _, cells in rows for cell in cells):
        lines.append(f"(three numbers: {_BETWEEN.join(_SPREAD)})")
    for split, summary in summaries.items():
        for cause, fault in summary["faults"].items():
            lines.append(f"{split}: {fault['count']:,} faulty ({cause})")
            lines += [f"    {text}" for text in fault["examples"][:_SHOWN]]
    return "\n".join([*lines, *(f"note: {remark}" for remark in remarks)])


def _class_rows(
    summaries: Mapping[str, Mapping[str, Any]], *, target: str
) -> list[tuple[str, list[str]]]:
    """Returns a row for each class that some image shows, those of most images first."""
    first = next(iter(summaries.values()))["classes"]
    shown = {n for s in summaries.values() for n, c in s["classes"].items() if c["images"]}
    names = sorted(filter(shown.__contains__, first), key=lambda n: -first[n]["images"])
    cells = {name: [] for name in names[:_CLASSES_SHOWN]}
    for summary in summaries.values():
        pixels = sum(c.get("pixels", 0) for c in summary["classes"].values()) or 1
        for name, cell in cells.items():
            of_class = summary["classes"].get(name, {"images": 0, _WORD[target]: 0})
            images, amount = f"{of_class['images']:,}", of_class[_WORD[target]]
            if not amount:
                images = "-"
            elif target == "boxes":
                images = f"{amount:,} in {images}"
            elif target == "segmentation":
                images = f"{100 * amount / pixels:.1f} % in {images}"
            cell.append(images)
    heading = {
        "label": "class",
        "boxes": "class: objects in images",
        "segmentation": "class: pixels in images",
    }[target]
    rows = [(heading, [""] * len(summaries))]
    rows += [(f"  {name}", cell) for name, cell in cells.items()]
    if len(names) > _CLASSES_SHOWN:
        more = f"  and {len(names) - _CLASSES_SHOWN} more, in check.json"
        rows.append((more, [""] * len(summaries)))
    if never := len(first) - len(names):
        rows.append((f"  {never} more, on no image", [""] * len(summaries)))
    return rows


def _span(spread: Mapping[str, float] | None) -> str:
    """Returns least, median and largest value; one of them if they are the same."""
    if spread is None:
        return "-"
    texts = [f"{spread[key]:g}" for key in _SPREAD]
    return texts[0] if len(set(texts)) == 1 else _BETWEEN.join(texts)


def _table(rows: Sequence[tuple[str, list[str]]]) -> str:
    first = max(len(words) for words, _ in rows)
    widths = [max(map(len, column)) for column in zip(*(r for _, r in rows), strict=True)]
    return "\n".join(
        f"{words:{first}}  "
        + "  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        for words, cells in rows
    )
