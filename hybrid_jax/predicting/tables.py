"""Predictions as files for other programs: a table, and one JSON object a line."""

import csv
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TABLE_FORMATS = ("csv", "jsonl")

# The list in an answer, and the columns of its entries, by task.
_LISTS = dict(classification="labels", detection="boxes", segmentation="classes")
_COLUMNS = dict(
    classification=("label", "name", "probability"),
    detection=("label", "name", "score", "left_px", "top_px", "right_px", "bottom_px"),
    segmentation=("label", "name", "share"),
)


def write_table(
    answers: Sequence[Mapping[str, Any]], path: pathlib.Path, *, task: str
) -> None:
    """Writes answers as the ending of `path` says.

    Args:
        answers: as in `predictions.json`: `image` with the list of the task, or with
            `error` where it could not be read.
        path: ends with ".jsonl", one answer a line; or with ".csv": one row for each entry
            of the list, best first, and one row for an image that has none.
        task: "classification", "detection" or "segmentation".
    """
    if path.suffix == ".jsonl":
        lines = [json.dumps(answer, ensure_ascii=False) for answer in answers]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return
    columns: list[str] = ["image", *_COLUMNS[task], "error"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        for answer in answers:
            table.writerows(_rows(answer, task=task))


def _rows(answer: Mapping[str, Any], *, task: str) -> Iterator[dict[str, Any]]:
    image = dict(image=answer["image"], error=answer.get("error", ""))
    entries = answer.get(_LISTS[task], ())
    for entry in entries:
        row = dict(entry)
        if "box_xyxy_px" in row:
            sides = row.pop("box_xyxy_px")
            row |= zip(("left_px", "top_px", "right_px", "bottom_px"), sides, strict=True)
        yield image | row
    if not entries:
        yield image
