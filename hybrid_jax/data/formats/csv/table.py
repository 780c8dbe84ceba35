"""Tables of images as text: `image,label` or `image,label,x1,y1,x2,y2`, a header first."""

import csv
import dataclasses
import io
import math
import pathlib
import posixpath
import unicodedata
from collections.abc import Sequence

import numpy as np

from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.errors import UserError

_SEPARATORS = (",", ";", "\t", "|")
# What tools call a column, in lower case; the library's own word comes first.
_CALLED = {
    "image": (
        *("image", "filename", "file_name", "image_path", "filepath", "path", "file"),
        *("image_name", "image_file", "img"),
    ),
    "label": ("label", "class", "class_name", "category", "category_name"),
    "x1": ("x1", "xmin", "x_min", "left"),
    "y1": ("y1", "ymin", "y_min", "top"),
    "x2": ("x2", "xmax", "x_max", "right"),
    "y2": ("y2", "ymax", "y_max", "bottom"),
    "split": ("split", "set", "subset"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
}
_CORNERS = ("x1", "y1", "x2", "y2")
# Boxes written in another way, which would be passed over as columns of no meaning.
_OTHER_BOXES = {"x", "y", "w", "h", "bbox", "box", "x_center", "y_center", "cx", "cy"}


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """The rows of a file, R of them.

    Attributes:
        path: of the file.
        images: R paths of images below the file's folder, in one spelling each: `/`
            between folders, letters such as é in one form.
        labels: R names of classes; "" for an image without objects.
        lines: (R,) int64, of the rows in the file, from 1.
        boxes_xyxy_px: (R, 4) float32, NaN for what is no number; None without columns.
        sizes_hw: (R, 2) float32, of the images in px, NaN where a row does not say it.
        splits: R words; None without a column.
        unread: names of columns that mean nothing here.
    """

    path: pathlib.Path
    images: list[str]
    labels: list[str]
    lines: np.ndarray
    boxes_xyxy_px: np.ndarray | None
    sizes_hw: np.ndarray
    splits: list[str] | None
    unread: tuple[str, ...]

    def of_rows(self, chosen: Sequence[int]) -> "CsvTable":
        """Returns the rows with the numbers `chosen`, without their splits."""
        boxes = self.boxes_xyxy_px
        return dataclasses.replace(
            self,
            images=[self.images[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            lines=self.lines[list(chosen)],
            boxes_xyxy_px=None if boxes is None else boxes[list(chosen)],
            sizes_hw=self.sizes_hw[list(chosen)],
            splits=None,
        )


def read_csv_table(path: pathlib.Path) -> CsvTable:
    """Reads a file of any usual encoding, line ends and separator (`,` `;` tab `|`).

    The header may have the usual other words: `filename`, `class`, `xmin`, ...

    Raises:
        UserError: the file cannot be read, has no header or lacks a column, or a row has
            no image, no label or too many fields; names file and line.
    """
    header, rows, lines = _rows_of(path)
    column = _columns(header, path)
    cells = {name: [row[at] for row in rows] for name, at in column.items()}
    for image, line in zip(cells["image"], lines, strict=True):
        if not image:
            raise UserError(f"{path}, line {line}: expected the path of an image, got ''.")
    boxes = None
    with_object = np.ones(len(rows), bool)
    if "x1" in column:
        corners = [cells[name] for name in _CORNERS]
        boxes = _numbers(corners)
        with_object = np.array([any(c) for c in zip(*corners, strict=True)], bool)
    for row in np.flatnonzero([not label for label in cells["label"]]):
        if with_object[row]:
            raise UserError(
                f"{path}, line {lines[row]}: expected a label for {cells['image'][row]!r}, "
                f"got none. Give it one or remove the line."
            )
    read = set(column.values())
    return CsvTable(
        path=path,
        images=list(map(_one_spelling, cells["image"])),
        labels=cells["label"],
        lines=np.array(lines, np.int64),
        boxes_xyxy_px=boxes,
        sizes_hw=_numbers([cells.get(k, [""] * len(rows)) for k in ("height", "width")]),
        splits=cells.get("split"),
        unread=tuple(word for at, word in enumerate(header) if at not in read and word),
    )


def _rows_of(path: pathlib.Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Returns the header, the rows below it, each as long, and their lines."""
    try:
        text = read_text(path)
    except OSError as error:
        raise UserError(f"table {str(path)!r} cannot be read: {error}.") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    before = 0
    if lines.lower().startswith("sep="):  # which spreadsheets write for themselves
        lines, before = lines.partition("\n")[2], 1
    first = lines.lstrip("\n").partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(lines), delimiter=separator, skipinitialspace=True)
    rows, numbers = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([_form(cell) for cell in row])
                numbers.append(reader.line_num + before)
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num + before}: expected a table, but it cannot be "
            f"parsed: {error}."
        ) from error
    if not rows:
        raise UserError(f"{path}: expected a header such as image,label; it is empty.")
    header, *rows = rows
    for row, number in zip(rows, numbers[1:], strict=True):
        if len(row) > len(header) and any(row[len(header) :]):
            raise UserError(
                f"{path}, line {number}: expected {len(header)} fields as in the header, "
                f'got {len(row)}. Put a text that holds {separator!r} into "quotes".'
            )
        row += [""] * (len(header) - len(row))
    return header, rows, numbers[1:]


def _columns(header: list[str], path: pathlib.Path) -> dict[str, int]:
    """Returns meaning -> place of the column."""
    words = [word.lower() for word in header]
    found = {}
    for meaning, names in _CALLED.items():
        there = [name for name in names if name in words]
        several = [name for name in there for _ in range(words.count(name))]
        if len(several) > 1 and (there[0] != meaning or several[1] == meaning):
            raise UserError(
                f"{path}: the columns {' and '.join(several)} both could be the {meaning}. "
                f"Call the one that is meant {meaning!r}."
            )
        if there:
            found[meaning] = words.index(there[0])
    corners = [name for name in _CORNERS if name in found]
    boxes_unread = not corners and len(_OTHER_BOXES.intersection(words)) > 1
    if not {"image", "label"} <= found.keys() or 0 < len(corners) < 4 or boxes_unread:
        raise UserError(
            f"{path}: expected a header with the columns image,label or "
            f"image,label,x1,y1,x2,y2 (corners of a box in px) and, if you like, split; "
            f"its first line is {','.join(header)[:80]!r}."
        )
    return found


def _numbers(columns: list[list[str]]) -> np.ndarray:
    """Returns C columns of texts as (R, C) float32, NaN for what is no number."""
    rows = np.array([list(map(_number, column)) for column in columns], np.float32).T
    return rows.reshape(-1, len(columns))


def _number(cell: str) -> float:
    try:
        # Where fields are parted by semicolons, numbers have decimal commas.
        return float(cell.replace(",", "."))
    except ValueError:
        return math.nan


def _form(cell: str) -> str:
    return unicodedata.normalize("NFC", cell.strip())


def _one_spelling(written: str) -> str:
    return posixpath.normpath(written.replace("\\", "/"))
