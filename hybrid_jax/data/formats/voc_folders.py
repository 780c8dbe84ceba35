"""Where PASCAL VOC keeps things: JPEGImages, Annotations, ImageSets, SegmentationClass.

Layout and class names: Everingham et al., The PASCAL Visual Object Classes Challenge, 2010.
"""

import pathlib

from hybrid_jax.data.formats.image_files import files_below
from hybrid_jax.data.formats.splits import SPLIT_OF_NAME, USUAL_NAMES, share_of, usual_names
from hybrid_jax.data.source_checks import check_split
from hybrid_jax.errors import UserError

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


class VocFolders:
    """One folder in VOC's layout, such as `VOCdevkit/VOC2012`.

    Splits are the lists `ImageSets/<lists>/*.txt`, one id a line; validation is `val.txt`.
    Without such a folder, the annotated ids are shared out: a tenth is the test split,
    another tenth validation, by a hash of the ids.

    Args:
        name: of the data, for messages.
        root: the folder.
        lists: "Main" or "Segmentation".
        annotated: the folder with a file for each annotated id.

    Raises:
        UserError: the folder, or one in it, is missing.
    """

    def __init__(self, name: str, root: str, *, lists: str, annotated: str):
        self.name = name
        self.root = pathlib.Path(root).expanduser()
        self.annotated = self.root / annotated
        for folder in (self.root / "JPEGImages", self.annotated):
            if not folder.is_dir():
                raise UserError(
                    f"data {name!r}: expected a folder in the layout of PASCAL VOC, with "
                    f"JPEGImages, {annotated} and ImageSets, but there is no {folder}."
                )
        self._lists = self.root / "ImageSets" / lists
        self._images = {
            pathlib.PurePath(file).stem: file
            for file in files_below(self.root / "JPEGImages")
        }

    def ids(self, split: str) -> list[str]:
        """Returns the ids of a split, in the order of its list.

        Raises:
            UserError: no such split, or nothing in it.
        """
        if self._lists.is_dir():
            ids = self._listed(split)
        else:
            check_split(self.name, split=split, splits=USUAL_NAMES)
            ids = share_of(self._annotated_ids(), split=split)
        if not ids:
            raise UserError(f"data {self.name!r}: split {split!r} has no images.")
        return ids

    def all_ids(self) -> set[str]:
        """Returns the ids of train, validation and test together."""
        if not self._lists.is_dir():
            return set(self._annotated_ids())
        there = [split for split in USUAL_NAMES if self._list(split).is_file()]
        return {image_id for split in there for image_id in self._listed(split)}

    def image(self, image_id: str) -> pathlib.Path:
        """Returns the path of an image, whether or not it is there."""
        return self.root / "JPEGImages" / self._images.get(image_id, f"{image_id}.jpg")

    def _annotated_ids(self) -> list[str]:
        return [path.stem for path in self.annotated.iterdir() if path.name[0] != "."]

    def _list(self, split: str) -> pathlib.Path:
        paths = [self._lists / f"{name}.txt" for name in usual_names(split)]
        return next((path for path in paths if path.is_file()), paths[0])

    def _listed(self, split: str) -> list[str]:
        path = self._list(split)
        if not path.is_file():
            there = sorted(p.stem for p in self._lists.glob("*.txt"))
            splits = [SPLIT_OF_NAME.get(s, s) for s in there if "_" not in s]
            check_split(self.name, split=split, splits=splits)
        # Lists of a single class have 1 or -1 behind the id.
        return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
