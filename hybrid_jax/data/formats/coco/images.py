"""One split of the images of a COCO json: which they are, and where."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.classes.class_names import gap_note
from hybrid_jax.data.formats.coco.categories import Categories, with_labels_of
from hybrid_jax.data.formats.coco.json_file import CocoTable, read_coco_json
from hybrid_jax.data.formats.paired_folders import PairedFolders, paired_folders
from hybrid_jax.data.formats.splits import (
    USUAL_NAMES,
    held_out,
    held_out_note,
    share_of,
    shared_out_note,
)
from hybrid_jax.data.formats.written_paths import found_file
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError

_EXAMPLE = "/data/coco/{split}2017,/data/coco/annotations/instances_{split}2017.json"


class CocoImages:
    """The images of one split with what the json file says about them.

    `{split}` in the two paths stands for a split's name there: train or training;
    validation, valid, val or dev; test or testing; or whatever other split is asked for. If
    there is none for validation, a tenth of training is held out. Without `{split}` the
    file holds all: a tenth of the images is the test split, another tenth validation,
    chosen by a hash of their names, so the same on every machine.

    The categories are those of the train split, by ascending id; other splits are mapped by
    the categories' names, whatever ids and order they have there, and may lack some. Where
    there is no train split, they are the file's own.

    Args:
        kind: of the source, the word before the colon.
        location: `IMAGES,JSON`, the images' folder and the file.
        split: see above.
        outlines: whether outlines are read too.

    Raises:
        UserError: a path is missing, the split is empty, a category is unknown to
            training, or the file is not as expected (see `read_coco_json`).

    Attributes:
        json: the file.
        table: the images of the split and their objects.
        largest_hw: (height, width) in px that no image of the file exceeds; None if it
            does not say so for all.
        notes: what is odd about the file.
        first_fault: of the entries of the file that cannot be used; None if all can.
    """

    def __init__(self, kind: str, location: str, *, split: str, outlines: bool):
        check_location(kind, location=location, example=_EXAMPLE)
        places = paired_folders(kind, location, example=_EXAMPLE)
        self._name = places.name
        if not places.by_split:
            check_split(self._name, split=split, splits=USUAL_NAMES)
        shared_out = places.holds_out(split)
        self._folder, self.json = places.of("train" if shared_out else split)
        table = read_coco_json(self.json, outlines=outlines)
        if trained := _trained_categories(places, json=self.json):
            table = with_labels_of(table, trained, path=self.json)
        largest = table.sizes_hw.max(0, initial=0).tolist()
        said = table.sizes_hw.all() and any(largest)
        self.largest_hw: tuple[int, int] | None = tuple(largest) if said else None
        self.notes = tuple(filter(None, [gap_note(table.category_ids)]))
        self.table: CocoTable = table
        if shared_out:
            self.table = _share(table, held_out(table.file_names, split=split))
            out = held_out(table.file_names, split="validation")
            self.notes += (held_out_note(len(out), of=len(table.file_names)),)
        elif not places.by_split:
            self.notes += (shared_out_note(len(table.file_names)),)
            self.table = _share(table, share_of(table.file_names, split=split))
        if not self.table.image_ids:
            raise UserError(f"data {self._name!r}: split {split!r} has no images.")
        fault = table.first_fault
        self.first_fault = BadAnnotationError(fault) if fault else None

    def __len__(self) -> int:
        return len(self.table.image_ids)

    def path(self, index: int) -> pathlib.Path:
        """Returns the file of an image."""
        return found_file(self._folder, self.table.file_names[index])

    def read(self, reader: Callable[[pathlib.Path], Any], index: int) -> Any:
        """Returns what `reader` makes of an image's file.

        Raises:
            BadImageError: it cannot be read; names the image's id.
            BadAnnotationError: its entry lacks a key.
        """
        if self.table.image_faults[index]:
            raise BadAnnotationError(self.table.image_faults[index])
        try:
            return reader(self.path(index))
        except BadImageError as error:
            image_id = self.table.image_ids[index]
            raise BadImageError(
                f"data {self._name!r}, image of id {image_id!r}: {error}"
            ) from error

    def check_size(self, index: int, hw: tuple[int, int]) -> None:
        """Raises `BadAnnotationError` unless the file says this size, or none."""
        said = tuple(self.table.sizes_hw[index].tolist())
        if all(said) and said != tuple(hw):
            raise BadAnnotationError(
                f"annotations {os.fspath(self.json)!r}: the image of id "
                f"{self.table.image_ids[index]!r} is said to be {said[0]}x{said[1]} px, "
                f"but {self.path(index)}, turned upright as its EXIF data says, is "
                f"{hw[0]}x{hw[1]} px (height x width). Its annotations would be off: "
                f"correct the file, take out width and height if they are right, or leave "
                f"such images out with --config.data.on_bad_annotation=skip."
            )

    def rows(self, index: int) -> slice:
        """Returns which rows of the table's objects are those of an image."""
        return slice(*self.table.offsets[index : index + 2].tolist())

    def where(self, index: int) -> str:
        """Returns what messages call the annotations of an image."""
        return f"{self.json}: {self.table.file_names[index]}"


def _trained_categories(places: PairedFolders, *, json: pathlib.Path) -> Categories | None:
    """Returns the categories of the train split; None if `json` holds them itself."""
    try:
        trained = places.of("train")[1]
    except UserError:
        return None
    if trained == json:
        return None
    state = trained.stat()
    return _categories(trained, state.st_mtime_ns, state.st_size)


# A large file takes long, and is opened for validation, test and evaluation each.
@functools.lru_cache(maxsize=4)
def _categories(path: pathlib.Path, modified_ns: int, size: int) -> Categories:
    table = read_coco_json(path)
    return Categories(path, table.names, table.category_ids)


def _share(table: CocoTable, file_names: list[str]) -> CocoTable:
    """Returns the images of these names."""
    names = set(file_names)
    chosen = [i for i, name in enumerate(table.file_names) if name in names]
    return table.of_images(np.array(chosen, np.int64))
