"""What became of every array: loaded, resized, new or dropped."""

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
        action: "loaded", "resized" (fitted to another grid), "new" (the model's own
            initial value) or "dropped" (in the file alone).
        path: in the model; in the file if it is dropped there.
        shape: in the model, None if dropped.
        file_shape: as read from the file, None if the file has none.
        keys: in the file.
        why: for "new" and "dropped".
    """

    action: str
    path: str
    shape: tuple[int, ...] | None = None
    file_shape: tuple[int, ...] | None = None
    keys: tuple[str, ...] = ()
    why: str = ""

    @property
    def part(self) -> str:
        """The part of the model: resnet, vit, head, fusion; or the file for the rest."""
        words = self.path.split("/")
        if words[0] == "head":
            return "head"
        if words[0] != "backbone":
            return "file"
        return words[1] if words[1] in ("resnet", "vit") else "fusion"

    @property
    def count(self) -> int:
        """Numbers in it: the model's where it has them."""
        return math.prod(self.shape if self.shape is not None else self.file_shape)


@dataclasses.dataclass(frozen=True)
class Report:
    """All rows of one load; `str(report)` is the table.

    Attributes:
        rows: one for each array of the model and each array of the file without a place.
        notes: remarks, such as the dialect.
        preprocessing: how images are prepared for these weights; None if the config says.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def where(self, action: str) -> tuple[Row, ...]:
        """Returns the rows of one action."""
        return tuple(row for row in self.rows if row.action == action)

    def noting(self, *notes: str) -> "Report":
        """Returns a report with more remarks."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))

    def preparing(self, images: Preprocessing | None) -> "Report":
        """Returns a report that says how images are prepared."""
        return dataclasses.replace(self, preprocessing=images)

    def check_whole(self, *, source: str) -> None:
        """Refuses a model of which the file lacks more than the classifier.

        Raises:
            UserError: names the first hole, and the key of the file most like it.
        """
        holes = [row for row in self.where("new") if row.part != "head"]
        if not holes:
            return
        first = holes[0]
        if first.file_shape is not None:
            found = f"{first.keys[0]!r} is {first.file_shape} there and {first.shape} here"
        else:
            name = first.keys[0] if first.keys else first.path
            spare = [row.path for row in self.where("dropped")]
            found = (
                f"{name!r}, for {first.path} {first.shape}, is not in it."
                f"{nearest(name, spare)}"
            )
        more = f" ({len(holes)} such in all)" if len(holes) > 1 else ""
        raise UserError(
            f"{source} does not fill the model: {found}{more}. Choose the model that the "
            f"file holds, graft its halves (model.pretrained_resnet, "
            f"model.pretrained_vit), or accept new weights there with strict=False."
        )

    def __str__(self) -> str:
        images = [] if self.preprocessing is None else [_images(self.preprocessing)]
        lines = [*_summary(self.rows), *_details(self.rows), *self.notes, *images]
        return "\n".join(lines)


def _summary(rows: Iterable[Row]) -> list[str]:
    """Returns arrays and numbers by part and action."""
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
    """Returns a line for every array that was not simply loaded, like ones together."""
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
    """Returns what arrays shown together have in common: their module, or their library."""
    separator = "/" if "/" in row.path else "."
    words = row.path.split(separator)
    return separator.join(words[:1] if row.part == "file" else words[:-1])


def _shapes(row: Row) -> str:
    there, here = row.file_shape, row.shape
    if there is None or here is None or there == here:
        return _times(here if here is not None else there)
    return f"{_times(there)} -> {_times(here)}"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _images(images: Preprocessing) -> str:
    how = "" if images.certain else " (assumed: neither the file nor one beside it tells)"
    return (
        f"images   normalization {images.normalization!r}, {images.interpolation}, "
        f"crop {images.eval_crop:g}{how}"
    )


def joined(reports: Iterable[Report]) -> Report:
    """Returns one report of a model that two files have filled, each its half.

    What one file gives, the other one need not: it is not new.
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
