"""`yolo:PATH`: boxes in a text file for each image, in the layout of Ultralytics' YOLO."""

import concurrent.futures
import functools
import pathlib

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.classes.class_names import gap_note
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.formats.image_files import passed_over
from hybrid_jax.data.formats.splits import (
    USUAL_NAMES,
    held_out,
    held_out_note,
    share_of,
    shared_out_note,
)
from hybrid_jax.data.formats.yolo.folders import (
    LabelFiles,
    check_stems,
    images_of,
    label_folder,
)
from hybrid_jax.data.formats.yolo.labels import YoloLabels, no_labels, read_yolo_labels
from hybrid_jax.data.formats.yolo.yaml_file import WHOLE, read_yolo
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError, UserError

_THREADS = 16  # files are waited for, not computed on
_BATCH = 256  # files a thread takes at a time


@SOURCES.register("yolo")
def open_yolo(location: str, *, split: str) -> "YoloSource":
    """Opens the data set of a yaml file, or of the folder that holds it."""
    check_location("yolo", location=location, example="/data/cells")
    return YoloSource(location, split=split)


class YoloSource:
    """Images of any size with boxes, a text file of the same name each.

    `data.yaml` names the classes and where the images of `train`, `val` and `test` are:
    folders, lists of folders, or text files of paths. `labels` in place of the last
    `images` of an image's path, and `.txt`, is its label file (see `read_yolo_labels`); an
    image without one has no objects. Outlines count as their bounding boxes.

    If there is nothing for validation, a tenth of training is held out. In a folder without
    yaml (`images`, `labels`, `classes.txt`) a tenth is the test split, another tenth
    validation. Both by a hash of the names.

    All label files of the split are read when it is opened.

    Args:
        location: the yaml file or the folder.
        split: "train", "validation" or "test".

    Raises:
        UserError: see `read_yolo` and `images_of`; no such split, no image in it, or no
            label file at all.

    Attributes:
        first_fault: of the first label file with a class that has no name, or that cannot
            be read; None without.
    """

    def __init__(self, location: str, *, split: str):
        name = f"yolo:{location}"
        self._data = data = read_yolo(location)
        shared_out = (
            split in ("train", "validation")
            and "validation" not in data.splits
            and WHOLE not in data.splits
        )
        also = USUAL_NAMES if WHOLE in data.splits else ("validation",)
        check_split(name, split=split, splits=sorted({*data.splits, *also} - {WHOLE}))
        of = WHOLE if WHOLE in data.splits else "train" if shared_out else split
        others: list[str] = []
        images = images_of(data, data.splits[of], others=others)
        check_stems(images)
        notes = [passed_over(others)]
        if of == WHOLE:
            chosen = share_of(images, split=split)
            notes.append(shared_out_note(len(images)))
        elif shared_out:
            chosen = held_out(images, split=split)
            out = held_out(images, split="validation")
            notes.append(held_out_note(len(out), of=len(images)))
        else:
            chosen = list(images)
        if not chosen:
            raise UserError(f"data {name!r}: split {split!r} has no images.")
        self._names = chosen
        self._images = [images[one] for one in chosen]
        label_files = LabelFiles()
        self._label_files = [label_files.of(image) for image in self._images]
        self._lost_labels = label_files.without_image()
        if not any(self._label_files):
            first = self._images[0]
            raise UserError(
                f"data {name!r}: not one of the {len(chosen)} images of the {split} split "
                f"has a label file. That of {first} would be "
                f"{label_folder(first.parent) / first.stem}.txt."
            )
        self._read_labels()
        self.info = DatasetInfo(
            box_names=data.names,
            box_category_ids=data.ids,
            notes=tuple(filter(None, [*notes, gap_note(data.ids), *self._notes(of)])),
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        """Decodes one image; `image_id` is its path below the root of the data set.

        Raises:
            BadImageError: its file cannot be read.
            BadAnnotationError: its label file cannot be read.
        """
        image = read_image(self._images[index])
        return {"image": image, **self._objects(index, image.shape[:2])}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._images[index]

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        hw = image_hw(self._images[index])
        return {"original_hw": hw, **self._objects(index, hw)}

    def _objects(self, index: int, hw: tuple[int, int]) -> Example:
        labels = self._labels[index]
        if isinstance(labels, str):
            raise BadAnnotationError(labels)
        height, width = hw
        return {
            "boxes_xyxy_px": labels.corners * np.array([width, height] * 2, np.float32),
            "box_labels": self._numbers(labels),
            "box_lines": labels.lines,
            "box_written": labels.ids.astype(str),
            "image_id": self._names[index],
            "where": str(self._label_files[index] or self._images[index]),
        }

    def _read_labels(self) -> None:
        read = functools.partial(_read_or_fault, has_keypoints=self._data.has_keypoints)
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
            self._labels = list(threads.map(read, self._label_files, chunksize=_BATCH))
        self.first_fault: BadAnnotationError | None = None
        for path, labels in zip(self._label_files, self._labels, strict=True):
            if fault := self._fault(labels, where=str(path)):
                self.first_fault = BadAnnotationError(fault)
                break

    def _fault(self, labels: YoloLabels | str, *, where: str) -> str:
        if isinstance(labels, str):
            return labels
        unnamed = np.flatnonzero(self._numbers(labels) < 0)
        if not len(unnamed):
            return ""
        row = unnamed[0]
        return (
            f"{where}:{labels.lines[row]}: the class {labels.ids[row]} is not among the "
            f"{len(self._data.names)} under names in {self._data.path}, whose ids are "
            f"{self._data.ids[0]} to {self._data.ids[-1]}. Correct either, or leave such "
            f"boxes out with --config.data.on_bad_annotation=skip."
        )

    def _numbers(self, labels: YoloLabels) -> np.ndarray:
        """Returns the labels (M,) int32 of the ids; -1 for those without a name."""
        ids = np.array(self._data.ids)
        at = np.searchsorted(ids, labels.ids).clip(max=len(ids) - 1)
        return np.where(ids[at] == labels.ids, at, -1).astype(np.int32)

    def _notes(self, of: str) -> list[str]:
        read = [labels for labels in self._labels if not isinstance(labels, str)]
        outlines = sum(labels.outlines for labels in read)
        repeated = sum(labels.repeated for labels in read)
        notes = []
        if without := self._label_files.count(None):
            notes.append(f"{without} images have no label file: they show no objects")
        if lost := self._lost_labels:
            notes.append(f"{len(lost)} label files belong to no image, e.g. {lost[0]}")
        if clashing := sum(map(_on_others, read)):
            notes.append(
                f"{clashing} boxes lie exactly on another one, of another class or as an "
                f"outline"
            )
        if outlines:
            boxes = sum(len(labels.ids) for labels in read)
            notes.append(f"{outlines} of {boxes} objects are outlines, read as their boxes")
        if repeated:
            notes.append(f"{repeated} lines of labels that repeat another are left out")
        places = self._data.splits[of]
        same = [s for s, other in self._data.splits.items() if s != of and other == places]
        if same:
            notes.append(f"the {of or 'whole'} and the {same[0]} split are the same images")
        return notes


def _on_others(labels: YoloLabels) -> int:
    """Returns how many boxes of an image repeat the place of an earlier one."""
    return len(labels.corners) - len(np.unique(labels.corners, axis=0))


def _read_or_fault(path, *, has_keypoints: bool) -> YoloLabels | str:
    """Returns the labels, or why there are none."""
    if path is None:
        return no_labels()
    try:
        return read_yolo_labels(path, has_keypoints=has_keypoints)
    except BadAnnotationError as error:
        return str(error)
