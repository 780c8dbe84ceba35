"""`hf_dataset:NAME_OR_PATH`: data sets of Hugging Face's `datasets`, also local ones."""

import pathlib
from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.formats.hf_columns import columns_of, names_of_codes
from hybrid_jax.data.formats.splits import held_out, held_out_note, split_called
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError, nearest


@SOURCES.register("hf_dataset")
def open_hf_dataset(location: str, *, split: str) -> "HfDatasetSource":
    """Opens a data set of the hub, or a folder, called `location`."""
    check_location("hf_dataset", location=location, example="/data/birds")
    return HfDatasetSource(location, split=split)


class HfDatasetSource:
    """Images of any size, labeled or with boxes.

    A folder is what `save_to_disk` wrote, or what `load_dataset` reads: Parquet files such
    as `data/train-00000-of-00001.parquet`, or images with metadata. Anything else is a name
    on the hub, downloaded once; a configuration follows a colon: `owner/name:default`.

    Columns are those of `columns_of`. Boxes are x, y, width, height in px, as in COCO.
    Classes are those of the train split, others are mapped by name. Splits may be called as
    folders are; if there is none for validation, a tenth of training is held out.

    Args:
        location: the folder or the name.
        split: "train", "validation", "test", or another that there is.

    Raises:
        UserError: `datasets` is not installed, nothing can be opened, a split is missing or
            a class unknown to training, or no column holds images and what they show.
    """

    def __init__(self, location: str, *, split: str):
        self._name = f"hf_dataset:{location}"
        splits = {split_called(key) or key: rows for key, rows in _loaded(location).items()}
        holds_out = "train" in splits and "validation" not in splits
        known = {*splits, "validation"} if holds_out else set(splits)
        check_split(self._name, split=split, splits=sorted(known))
        shared_out = holds_out and split in ("train", "validation")
        self._rows = rows = splits["train" if shared_out else split]
        try:
            self._columns = columns_of(splits.get("train", rows))
            codes, box_codes = names_of_codes(rows, self._columns)
        except (ValueError, KeyError) as error:
            raise UserError(f"data {self._name!r}: {error}.") from error
        classes, boxes = self._columns.class_names, self._columns.box_names
        self._label_of = self._numbers(codes, classes)
        self._box_label_of = self._numbers(box_codes, boxes)
        self._codes = codes
        numbers = [f"{number:09d}" for number in range(len(rows))]
        chosen, notes = numbers, ()
        if shared_out:
            chosen = held_out(numbers, split=split)
            out = held_out(numbers, split="validation")
            notes = (held_out_note(len(out), of=len(numbers)),)
        if not chosen:
            raise UserError(f"data {self._name!r}: split {split!r} has no images.")
        self._chosen = np.array(chosen, np.int64)
        self.info = DatasetInfo(
            num_classes=len(classes), class_names=classes, box_names=boxes, notes=notes
        )

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Example:
        """Decodes one image; `image_id` is the number of its row.

        Raises:
            BadImageError: it is missing or cannot be read.
            BadAnnotationError: its boxes and their classes are not as many.
        """
        row, stored = self._row(index)
        return {"image": self._read(read_image, stored, index), **self._known(row, index)}

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        row, stored = self._row(index)
        hw = self._read(image_hw, stored, index)
        return {"original_hw": hw, **self._known(row, index)}

    def _row(self, index: int) -> tuple[dict[str, Any], Any]:
        row = self._rows[int(self._chosen[index])]
        stored = row[self._columns.image] or {}
        return row, stored.get("bytes") or stored.get("path")

    def _read(self, reader, stored: bytes | str | None, index: int):
        where = f"data {self._name!r}, row {self._chosen[index]}"
        if not stored:
            raise BadImageError(f"{where}: it has no image.")
        try:
            return reader(stored)
        except BadImageError as error:
            raise BadImageError(f"{where}: {error}") from error

    def _known(self, row: dict[str, Any], index: int) -> Example:
        number = int(self._chosen[index])
        example: Example = {"image_id": number, "where": f"{self._name}, row {number}"}
        if self._columns.label:
            example["label"] = self._label(row[self._columns.label], number)
        if self._columns.category:
            objects = row["objects"]
            boxes_xywh = np.array(objects["bbox"], np.float64).reshape(-1, 4)
            codes = np.array(objects[self._columns.category], np.int64)
            if len(codes) != len(boxes_xywh):
                raise BadAnnotationError(
                    f"data {self._name!r}, row {number}: it has {len(boxes_xywh)} boxes "
                    f"and {len(codes)} classes of boxes."
                )
            corners = boxes_xywh[:, :2]
            sides = np.concatenate([corners, corners + boxes_xywh[:, 2:]], 1)
            example["boxes_xyxy_px"] = sides.astype(np.float32)
            known = (codes >= 0) & (codes < len(self._box_label_of))
            # -1, of no class, is the last.
            labels = np.append(self._box_label_of, -1)[np.where(known, codes, -1)]
            example["box_labels"] = labels.astype(np.int32)
        return example

    def _label(self, value: Any, number: int) -> int:
        if self._codes and isinstance(value, int) and 0 <= value < len(self._codes):
            return int(self._label_of[value])
        names = self._columns.class_names
        if self._codes or str(value) not in names:
            raise UserError(
                f"data {self._name!r}: row {number} has the label {value!r}, which is none "
                f"of the {len(names)} classes of training.{nearest(str(value), names)} A "
                f"split whose labels are kept secret cannot be used."
            )
        return names.index(str(value))

    def _numbers(self, codes: list[str], names: tuple[str, ...]) -> np.ndarray:
        """Returns the class of training for each number in the rows."""
        for code in codes:
            if code not in names:
                raise UserError(
                    f"data {self._name!r}: class {code!r} is not among the {len(names)} "
                    f"classes of the train split.{nearest(code, names)}"
                )
        return np.array([names.index(code) for code in codes], np.int64)


def _loaded(location: str) -> dict[str, Any]:
    """Returns split -> rows, whose images are left as they are stored."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"data 'hf_dataset:{location}' needs the library datasets: pip install -e "
            f"'.[datasets]'."
        ) from error
    folder = pathlib.Path(location).expanduser()
    try:
        if folder.is_dir():
            saved = [folder / name for name in ("dataset_dict.json", "state.json")]
            is_saved = any(path.exists() for path in saved)
            load = datasets.load_from_disk if is_saved else datasets.load_dataset
            splits = load(str(folder))
        else:
            name, _, config = location.partition(":")
            splits = datasets.load_dataset(name, config or None)
    except Exception as error:  # of a dozen libraries that it calls
        raise UserError(
            f"data 'hf_dataset:{location}': expected a folder that `datasets` reads or a "
            f"name on the hub; it says: {str(error)[:300]}"
        ) from error
    if isinstance(splits, datasets.Dataset):
        splits = {"train": splits}
    return {name: _undecoded(rows, datasets) for name, rows in splits.items()}


def _undecoded(rows: Any, datasets: Any) -> Any:
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows
