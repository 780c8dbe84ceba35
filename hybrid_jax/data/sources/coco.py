"""`coco:IMAGES,JSON`: boxes in the json format of COCO (Lin et al., 2014)."""

import functools
import os
import pathlib

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.formats.class_names import gap_note
from hybrid_jax.data.formats.coco_categories import Categories, with_labels_of
from hybrid_jax.data.formats.coco_json import CocoTable, read_coco_json
from hybrid_jax.data.formats.decode import image_hw, read_image
from hybrid_jax.data.formats.paired_folders import PairedFolders, paired_folders
from hybrid_jax.data.formats.splits import (
    USUAL_NAMES,
    held_out,
    held_out_note,
    share_of,
)
from hybrid_jax.data.formats.written_paths import found_file
from hybrid_jax.data.source_checks import check_location, check_split
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError

_EXAMPLE = "/data/coco/{split}2017,/data/coco/annotations/instances_{split}2017.json"


@SOURCES.register("coco")
def open_coco(location: str, *, split: str) -> "CocoSource":
    """Opens the folder and the json file of `location`, parted by a comma."""
    check_location("coco", location=location, example=_EXAMPLE)
    return CocoSource(location, split=split)


class CocoSource:
    """Images of any size with boxes; those without objects are there too.

    `{split}` in the two paths stands for a split's name there: train or training;
    validation, valid, val or dev; test or testing; or whatever other split is asked for. If
    there is none for validation, a tenth of training is held out. Without `{split}` the
    file holds all: a tenth of the images is the test split, another tenth validation,
    chosen by a hash of their names, so the same on every machine.

    The categories are those of the train split, by ascending id; other splits are mapped by
    the categories' names, whatever ids and order they have there, and may lack some. Where
    there is no train split, they are the file's own.

    Examples hold `boxes_xyxy_px`, `box_labels` (the ids in the split's own file are
    `info.box_category_ids`), `box_crowd` (from `iscrowd`), `box_ids`, `box_areas_px` and
    `image_id`. Outlines, as polygons or run lengths, are read over. The file is read once;
    images are looked for when they are asked for.

    Args:
        location: `IMAGES,JSON`, the images' folder and the file.
        split: see above.

    Raises:
        UserError: a path is missing, the split is empty, a category is unknown to
            training, or the file is not as expected (see `read_coco_json`).

    Attributes:
        first_fault: of the entries of the file that cannot be used; None if all can.
    """

    def __init__(self, location: str, *, split: str):
        places = paired_folders("coco", location, example=_EXAMPLE)
        self._name = places.name
        if not places.by_split:
            check_split(self._name, split=split, splits=USUAL_NAMES)
        shared_out = places.holds_out(split)
        self._folder, self._json = places.of("train" if shared_out else split)
        table = read_coco_json(self._json)
        if trained := _trained_categories(places, json=self._json):
            table = with_labels_of(table, trained, path=self._json)
        largest = table.sizes_hw.max(0, initial=0).tolist()
        notes = tuple(filter(None, [gap_note(table.category_ids)]))
        self._table = table
        if shared_out:
            self._table = _share(table, held_out(table.file_names, split=split))
            out = held_out(table.file_names, split="validation")
            notes += (held_out_note(len(out), of=len(table.file_names)),)
        elif not places.by_split:
            self._table = _share(table, share_of(table.file_names, split=split))
        self.info = DatasetInfo(
            box_names=table.names,
            box_category_ids=table.category_ids,
            largest_hw=tuple(largest) if table.sizes_hw.all() and any(largest) else None,
            notes=notes,
        )
        if not self._table.image_ids:
            raise UserError(f"data {self._name!r}: split {split!r} has no images.")
        fault = table.first_fault
        self.first_fault = BadAnnotationError(fault) if fault else None

    def __len__(self) -> int:
        return len(self._table.image_ids)

    def __getitem__(self, index: int) -> Example:
        """Decodes one image.

        Raises:
            BadImageError: the file cannot be read; names it and the image's id.
            BadAnnotationError: it is not of the size that the json file says, or its entry
                there lacks a key.
        """
        image = self._read(read_image, index)
        return {"image": image, **self._boxes(index, image.shape[:2])}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._path(index)

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        hw = self._read(image_hw, index)
        return {"original_hw": hw, **self._boxes(index, hw)}

    def _path(self, index: int) -> pathlib.Path:
        return found_file(self._folder, self._table.file_names[index])

    def _read(self, reader, index: int):
        if self._table.image_faults[index]:
            raise BadAnnotationError(self._table.image_faults[index])
        try:
            return reader(self._path(index))
        except BadImageError as error:
            image_id = self._table.image_ids[index]
            raise BadImageError(
                f"data {self._name!r}, image of id {image_id!r}: {error}"
            ) from error

    def _boxes(self, index: int, hw: tuple[int, int]) -> Example:
        table = self._table
        said = tuple(table.sizes_hw[index].tolist())
        if all(said) and said != tuple(hw):
            raise BadAnnotationError(
                f"annotations {os.fspath(self._json)!r}: the image of id "
                f"{table.image_ids[index]!r} is said to be {said[0]}x{said[1]} px, but "
                f"{self._path(index)}, turned upright as its EXIF data says, is "
                f"{hw[0]}x{hw[1]} px (height x width). Its boxes would be off: correct "
                f"the file, take out width and height if the boxes are right, or leave "
                f"such images out with --config.data.on_bad_annotation=skip."
            )
        rows = slice(*table.offsets[index : index + 2])
        return {
            "boxes_xyxy_px": table.boxes_xyxy_px[rows],
            "box_labels": table.labels[rows],
            "box_crowd": table.crowd[rows],
            "box_ids": table.ids[rows],
            "box_areas_px": table.areas_px[rows],
            "image_id": table.image_ids[index],
            "where": f"{self._json}: {table.file_names[index]}",
        }


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
