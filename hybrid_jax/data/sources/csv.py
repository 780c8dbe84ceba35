"""`csv:PATH`: a table of images with a label, or with labeled boxes."""

import pathlib
import unicodedata

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.classes.class_list import listed_classes
from hybrid_jax.data.formats.classes.class_names import (
    alike_note,
    gap_note,
    in_order,
    one_class_note,
)
from hybrid_jax.data.formats.csv.splits import WHOLE, csv_splits
from hybrid_jax.data.formats.csv.table import CsvTable
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.formats.splits import (
    USUAL_NAMES,
    held_out,
    held_out_note,
    share_of,
    shared_by_class,
    shared_out_note,
)
from hybrid_jax.data.formats.written_paths import found_file
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError, nearest

_LOOKED_FOR = 10  # images, before a table is refused whose paths lead nowhere


@SOURCES.register("csv")
def open_csv(location: str, *, split: str) -> "CsvSource":
    """Opens the table, or the folder of tables, `location`."""
    check_location("csv", location=location, example="/data/birds.csv")
    return CsvSource(location, split=split)


class CsvSource:
    """Images of any size with a label each, or with boxes, a row for each box.

    The header is `image,label` or `image,label,x1,y1,x2,y2`, or the usual other words (see
    `read_csv_table`); columns of other names are not read. Paths are relative to the
    file's folder. Boxes are left, top, right and bottom in px, the last two exclusive; a
    row without label and numbers is an image without objects. Columns `width` and `height`
    beside boxes are the size of the image, which they must fit.

    Splits are a column `split`, or files called train.csv, val.csv and test.csv (any usual
    name, see `USUAL_NAMES`). If there is none for validation, a tenth of training is held
    out. Without splits a tenth is the test split, another tenth validation; labels are
    shared out class by class. Both by a hash of the paths.

    The classes are those of `classes.txt` beside the table, one a line, if there is one;
    else those of the train split: alphabetically, or by size if all are numbers.

    Args:
        location: the file; the folder; or a path with `{split}`.
        split: "train", "validation", "test", or another one that the table has.

    Raises:
        UserError: no such file or split, a table that cannot be read, an unknown class, an
            image with two labels, or not one image where the paths lead.
    """

    def __init__(self, location: str, *, split: str):
        self._name = f"csv:{location}"
        tables = csv_splits(location, split=split)
        trained = tables.get(WHOLE) or tables["train"]
        self._holds_out = (
            WHOLE not in tables
            and "validation" not in tables
            and split in ("train", "validation")
        )
        if WHOLE not in tables:
            also = {"validation"} if "validation" not in tables else set()
            check_split(self._name, split=split, splits=sorted(tables.keys() | also))
        else:
            check_split(self._name, split=split, splits=USUAL_NAMES)
        table = trained if WHOLE in tables or self._holds_out else tables[split]
        self._table = table
        if (table.boxes_xyxy_px is None) != (trained.boxes_xyxy_px is None):
            raise UserError(
                f"{table.path} and {trained.path}: expected boxes in both or in neither."
            )
        listed = listed_classes(trained.path.parent)
        # In the one form that the cells of tables have.
        names = tuple(unicodedata.normalize("NFC", name) for name in listed or ())
        self._classes = names or in_order(filter(None, trained.labels))
        self._labels = self._numbers(table)
        rows = _rows_by_image(table)
        has_boxes = table.boxes_xyxy_px is not None
        repeated = self._repeated_boxes(rows) if has_boxes else self._repeated(rows)
        chosen = self._chosen(rows, split=split, whole=WHOLE in tables)
        self._images = [image for image in rows if image in chosen]
        self._rows = [np.array(rows[image]) for image in self._images]
        if not self._images:
            raise UserError(f"data {self._name!r}: split {split!r} has no images.")
        self._check_there()
        notes = [*self._notes(rows, whole=WHOLE in tables), _overlap(tables, split, table)]
        if repeated:
            notes.append(
                f"{repeated} rows say again what another one says, and are left out"
            )
        self.info = self._info(notes)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        """Decodes one image; `image_id` is its path as the table has it.

        Raises:
            BadImageError: the file cannot be read; names it and the line of the table.
            BadAnnotationError: it has boxes, and is not of the size that a row says.
        """
        image = self._read(read_image, index)
        return {"image": image, **self._known(index, image.shape[:2])}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return found_file(self._table.path.parent, self._images[index])

    def labeled_names(self) -> list[tuple[int, str]]:
        """Returns the label and the path of each image, of a table without boxes."""
        firsts = [int(self._labels[rows[0]]) for rows in self._rows]
        return list(zip(firsts, self._images, strict=True))

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        hw = self._read(image_hw, index)
        return {"original_hw": hw, **self._known(index, hw)}

    def _read(self, reader, index: int):
        path = found_file(self._table.path.parent, self._images[index])
        try:
            return reader(path)
        except BadImageError as error:
            line = self._table.lines[self._rows[index][0]]
            raise BadImageError(f"{self._table.path}, line {line}: {error}") from error

    def _known(self, index: int, hw: tuple[int, int]) -> Example:
        rows, table = self._rows[index], self._table
        known = {"image_id": self._images[index], "where": str(table.path)}
        if table.boxes_xyxy_px is None:
            return known | {"label": int(self._labels[rows[0]])}
        self._check_size(rows, hw)
        rows = rows[self._labels[rows] >= 0]
        return known | {
            "boxes_xyxy_px": table.boxes_xyxy_px[rows],
            "box_labels": self._labels[rows],
            "box_lines": table.lines[rows],
        }

    def _check_size(self, rows: np.ndarray, hw: tuple[int, int]) -> None:
        said = self._table.sizes_hw[rows]
        for row in rows[(np.isfinite(said) & (said != hw)).any(-1)]:
            height, width = self._table.sizes_hw[row]
            raise BadAnnotationError(
                f"{self._table.path}, line {self._table.lines[row]}: the image is said to "
                f"be {height:g}x{width:g} px, but {self._table.images[row]!r}, turned "
                f"upright as its EXIF data says, is {hw[0]}x{hw[1]} px (height x width). "
                f"Its boxes would be off: correct the file, take out the columns width and "
                f"height if the boxes are right, or leave such images out with "
                f"--config.data.on_bad_annotation=skip."
            )

    def _numbers(self, table: CsvTable) -> np.ndarray:
        """Returns the label of each row, (R,) int32; -1 for an image without objects."""
        number_of = {name: number for number, name in enumerate(self._classes)}
        number_of[""] = -1
        for label, line in zip(table.labels, table.lines, strict=True):
            if label not in number_of:
                raise UserError(
                    f"{table.path}, line {line}: the class {label!r} is not among the "
                    f"{len(self._classes)} classes of the train split or classes.txt."
                    f"{nearest(label, self._classes)} Give it the name it has there, or "
                    f"remove the line."
                )
        return np.array([number_of[label] for label in table.labels], np.int32)

    def _repeated(self, rows: dict[str, list[int]]) -> int:
        """Returns how many rows say again what another one says."""
        for image, of_image in rows.items():
            labels = self._labels[of_image]
            if (labels != labels[0]).any():
                other = of_image[int(np.argmax(labels != labels[0]))]
                first, second = self._table.lines[[of_image[0], other]]
                raise UserError(
                    f"{self._table.path}, lines {first} and {second}: expected one label "
                    f"for an image, got {self._table.labels[of_image[0]]!r} and "
                    f"{self._table.labels[other]!r} for {image!r}. Remove one of them."
                )
        return sum(map(len, rows.values())) - len(rows)

    def _repeated_boxes(self, rows: dict[str, list[int]]) -> int:
        """Takes out rows that say again what another one says; returns how many."""
        before = sum(map(len, rows.values()))
        boxes = self._table.boxes_xyxy_px
        assert boxes is not None  # asked for where there are some
        for image, of_image in rows.items():
            said = {
                (self._labels[row], boxes[row].tobytes()): row for row in of_image[::-1]
            }
            rows[image] = sorted(said.values())
        return before - sum(map(len, rows.values()))

    def _chosen(self, rows: dict[str, list[int]], *, split: str, whole: bool) -> set[str]:
        """Returns the images of the split."""
        if not (whole or self._holds_out):
            return set(rows)
        share = held_out if self._holds_out else share_of
        groups: dict[int, list[str]] = {}
        for image, of_image in rows.items():
            labeled = self._table.boxes_xyxy_px is None
            label = int(self._labels[of_image[0]]) if labeled else 0
            groups.setdefault(label, []).append(image)
        shares = shared_by_class(groups, split=split, share=share)
        return {image for images in shares.values() for image in images}

    def _check_there(self) -> None:
        folder = self._table.path.parent
        paths = [found_file(folder, image) for image in self._images[:_LOOKED_FOR]]
        if not any(path.is_file() for path in paths):
            raise UserError(
                f"data {self._name!r}: expected images where the paths in "
                f"{self._table.path} lead from its folder, but there is no {paths[0]}. "
                f"Move the table to the folder that its paths start from; they need the "
                f"names of files, endings included."
            )

    def _notes(self, rows: dict[str, list[int]], *, whole: bool) -> list[str]:
        notes = []
        if self._table.unread:
            notes.append(f"columns that are not read: {', '.join(self._table.unread)}")
        if self._table.boxes_xyxy_px is None:
            notes.append(one_class_note(self._classes))
        notes.append(alike_note(self._classes))
        if all(name.isdecimal() for name in self._classes):
            notes.append(gap_note(list(map(int, self._classes))))
        if self._holds_out:
            out = self._chosen(rows, split="validation", whole=False)
            notes.append(held_out_note(len(out), of=len(rows)))
        elif whole:
            notes.append(shared_out_note(len(rows)))
        return notes

    def _info(self, notes: list[str]) -> DatasetInfo:
        kept = tuple(filter(None, notes))
        if self._table.boxes_xyxy_px is not None:
            return DatasetInfo(box_names=self._classes, notes=kept)
        return DatasetInfo(
            num_classes=len(self._classes), class_names=self._classes, notes=kept
        )


def _rows_by_image(table: CsvTable) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(table.images):
        rows.setdefault(image, []).append(row)
    return rows


def _overlap(tables: dict[str, CsvTable], split: str, table: CsvTable) -> str:
    """Returns a sentence about images that other splits have too; '' if there are none."""
    for other, of_other in tables.items():
        if other in (WHOLE, split) or of_other is table:
            continue
        if of_other.path.parent != table.path.parent:
            continue
        both = set(of_other.images).intersection(table.images)
        if both:
            return (
                f"{len(both)} images are in the {split} split and in the {other} split, "
                f"e.g. {min(both)}"
            )
    return ""
