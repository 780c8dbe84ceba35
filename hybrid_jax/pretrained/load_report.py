"""The report of loading weights: each array is loaded, resized, new or dropped."""

import dataclasses
import math
from collections.abc import Iterable

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.dialect import Preprocessing

ACTIONS = ("loaded", "resized", "new", "dropped")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One array.

    Attributes:
        action: "loaded", "resized" (position table), "new" (initial value of the model) or
            "dropped" (in the file only).
        path: path in the model, or key in the file for unknown arrays.
        shape: shape in the model, None if dropped.
        file_shape: converted shape in the file, None if not in the file.
        keys: keys in the file.
        why: reason for "new" and "dropped".
    """

    action: str
    path: str
    shape: tuple[int, ...] | None = None
    file_shape: tuple[int, ...] | None = None
    keys: tuple[str, ...] = ()
    why: str = ""

    @property
    def part(self) -> str:
        """The part of the model: resnet, vit, head or fusion; "file" for unknown arrays."""
        words = self.path.split("/")
        if words[0] == "head":
            return "head"
        if words[0] != "backbone":
            return "file"
        return words[1] if words[1] in ("resnet", "vit") else "fusion"

    @property
    def count(self) -> int:
        """Number of elements, in the model if it has the array."""
        return math.prod(_first(self.shape, self.file_shape))


@dataclasses.dataclass(frozen=True)
class Report:
    """The report of one load; `str(report)` is a table.

    Attributes:
        rows: one for each array of the model and each unknown array of the file.
        notes: remarks, such as the dialect.
        preprocessing: image preprocessing of these weights; None if it is the config's.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def where(self, action: str) -> tuple[Row, ...]:
        """Returns the rows with one action."""
        return tuple(row for row in self.rows if row.action == action)

    def noting(self, *notes: str) -> "Report":
        """Returns a report with further remarks."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))

    def preparing(self, images: Preprocessing | None) -> "Report":
        """Returns a report with this preprocessing."""
        return dataclasses.replace(self, preprocessing=images)

    def check_whole(self, *, source: str) -> None:
        """Raises an error if arrays other than the head's are not in the file.

        Raises:
            UserError: the message names the first missing array and a similar key.
        """
        holes = [row for row in self.where("new") if row.part != "head"]
        if not holes:
            return
        first = holes[0]
        if first.file_shape is not None:
            found = (
                f"expected {first.keys[0]!r} of shape {first.shape}, got {first.file_shape}"
            )
        else:
            name = first.keys[0] if first.keys else first.path
            spare = [row.path for row in self.where("dropped")]
            found = (
                f"{name!r}, for {first.path} {first.shape}, is not in it."
                f"{nearest(name, spare)}"
            )
        more = f" ({len(holes)} such arrays)" if len(holes) > 1 else ""
        raise UserError(
            f"{source} does not fill the model: {found}{more}. Choose the model that the "
            f"file holds, load its halves (model.pretrained_resnet, "
            f"model.pretrained_vit), or keep initial values there with strict=False."
        )

    def __str__(self) -> str:
        images = [] if self.preprocessing is None else [_images(self.preprocessing)]
        lines = [*_summary(self.rows), *_details(self.rows), *self.notes, *images]
        return "\n".join(lines)


def _summary(rows: Iterable[Row]) -> list[str]:
    """Returns lines with the number of arrays and elements by part and action."""
    rows = list(rows)
    lines = [f"{'part':8}" + "".join(f"{action:>22}" for action in ACTIONS)]
    for part in ("resnet", "vit", "fusion", "head", "file"):
        cells = []
        for action in ACTIONS:
            found = [r for r in rows if r.part == part and r.action == action]
            total = sum(row.count for row in found)
            cells.append(f"{len(found)} arrays {total:,}" if found else "-")
        if set(cells) != {"-"}:
            lines.append(f"{part:8}" + "".join(f"{cell:>22}" for cell in cells))
    return lines


def _details(rows: Iterable[Row]) -> list[str]:
    """Returns lines for arrays that were not simply loaded, grouped by module."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.action != "loaded" or row.why:
            groups.setdefault((row.action, _stem(row), row.why), []).append(row)
    lines = []
    for (action, stem, why), found in groups.items():
        shown = [f"{row.path[len(stem) :].lstrip('/.')} {_shapes(row)}" for row in found]
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        because = f" ({why})" if why else ""
        lines.append(f"{action:8} {stem}: {', '.join(shown[:4])}{more}{because}")
    return lines


def _stem(row: Row) -> str:
    """Returns the common prefix of grouped arrays: their module."""
    separator = "/" if "/" in row.path else "."
    words = row.path.split(separator)
    return separator.join(words[:1] if row.part == "file" else words[:-1])


def _shapes(row: Row) -> str:
    there, here = row.file_shape, row.shape
    if there is None or here is None or there == here:
        return _times(_first(here, there))
    return f"{_times(there)} -> {_times(here)}"


def _first(shape: tuple[int, ...] | None, other: tuple[int, ...] | None) -> tuple[int, ...]:
    """Returns `shape`, or `other` if it is None; an array has at least one of them."""
    found = other if shape is None else shape
    assert found is not None
    return found


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _images(images: Preprocessing) -> str:
    how = "" if images.certain else " (assumed: not in the file or its config.json)"
    return (
        f"images   normalization {images.normalization!r}, {images.interpolation}, "
        f"crop {images.eval_crop:g}{how}"
    )


def joined(reports: Iterable[Report]) -> Report:
    """Returns one report of a model that is filled from two files.

    An array is new only if neither file has it.
    """
    reports = list(reports)
    given = {row.path for report in reports for row in report.rows if row.action != "new"}
    rows, seen = [], set()
    for report in reports:
        for row in report.rows:
            if row.action == "new" and (row.path in given or row.path in seen):
                continue
            seen.add(row.path)
            rows.append(row)
    notes = tuple(note for report in reports for note in report.notes)
    return Report(tuple(rows), notes)
