"""Where PASCAL VOC keeps things: JPEGImages, Annotations, ImageSets, SegmentationClass.

Layout and class names: Everingham et al., The PASCAL Visual Object Classes Challenge, 2010.
"""

import pathlib
import unicodedata

from hybrid_jax.data.checks.source_checks import check_split
from hybrid_jax.data.formats.image_files import EXTENSIONS, files_below
from hybrid_jax.data.formats.splits import (
    USUAL_NAMES,
    held_out,
    held_out_note,
    share_of,
    shared_out_note,
    split_called,
    usual_names,
)
from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.errors import UserError

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


class VocFolders:
    """One folder in VOC's layout, such as `VOCdevkit/VOC2012`.

    Splits are the lists `ImageSets/<lists>/*.txt`, one id a line; validation is `val.txt`.
    Where there is a list for training and none for validation, a tenth of it is held out
    (see `held_out`). Without such a folder, the annotated ids are shared out: a tenth is
    the test split, another tenth validation, by a hash of the ids.

    Args:
        name: of the data, for messages.
        root: the folder.
        lists: "Main" or "Segmentation".
        annotated: the folder with a file for each annotated id.
        ending: of those files, in lower case; files of other endings do not count.

    Raises:
        UserError: the folder, or one in it, is missing.
    """

    def __init__(self, name: str, root: str, *, lists: str, annotated: str, ending: str):
        self.name = name
        self.root = pathlib.Path(root).expanduser()
        self._annotated = self.root / annotated
        self._ending = ending
        for folder in (self.root / "JPEGImages", self._annotated):
            if not folder.is_dir():
                raise UserError(
                    f"data {name!r}: expected a folder in the layout of PASCAL VOC, with "
                    f"JPEGImages, {annotated} and ImageSets, but there is no {folder}."
                )
        self._lists = self.root / "ImageSets" / lists
        self._images = _by_stem(self.root / "JPEGImages", extensions=EXTENSIONS)
        self._annotations = _by_stem(self._annotated, extensions=(ending,))

    def ids(self, split: str) -> list[str]:
        """Returns the ids of a split, in the order of its list.

        Raises:
            UserError: no such split, nothing in it, or two images of one id.
        """
        if not self._lists.is_dir():
            check_split(self.name, split=split, splits=USUAL_NAMES)
            ids = share_of(self._annotations, split=split)
        elif self._holds_out(split):
            trained = self._listed("train")
            chosen = set(held_out(trained, split=split))
            ids = [image_id for image_id in trained if image_id in chosen]
        else:
            ids = self._listed(split)
        if not ids:
            raise UserError(f"data {self.name!r}: split {split!r} has no images.")
        for image_id in ids:
            files = self._images.get(image_id, ())
            if len(files) > 1:
                raise UserError(
                    f"data {self.name!r}: {files[0]} and {files[1]} in JPEGImages both are "
                    f"the image {image_id!r}. Keep one of them, or give each a name of its "
                    f"own."
                )
        return ids

    def notes(self, split: str) -> tuple[str, ...]:
        """Returns what a run has to say of a split first, see `DatasetInfo.notes`."""
        if not self._lists.is_dir():
            return (shared_out_note(len(self._annotations)),)
        if not self._holds_out(split):
            return ()
        trained = self._listed("train")
        out = held_out(trained, split="validation")
        return (held_out_note(len(out), of=len(trained)),)

    def all_ids(self) -> set[str]:
        """Returns the ids of train, validation and test together."""
        if not self._lists.is_dir():
            return set(self._annotations)
        there = [split for split in USUAL_NAMES if self._list(split).is_file()]
        return {image_id for split in there for image_id in self._listed(split)}

    def image(self, image_id: str) -> pathlib.Path:
        """Returns the path of an image, whether or not it is there."""
        files = self._images.get(image_id, [f"{image_id}.jpg"])
        return self.root / "JPEGImages" / files[0]

    def annotation(self, image_id: str) -> pathlib.Path:
        """Returns the path of the file for an annotated id, whether or not it is there."""
        files = self._annotations.get(image_id, [f"{image_id}{self._ending}"])
        return self._annotated / files[0]

    def _holds_out(self, split: str) -> bool:
        lists = [self._list(s).is_file() for s in ("train", "validation")]
        return split in ("train", "validation") and lists == [True, False]

    def _list(self, split: str) -> pathlib.Path:
        paths = [self._lists / f"{name}.txt" for name in usual_names(split)]
        return next((path for path in paths if path.is_file()), paths[0])

    def _listed(self, split: str) -> list[str]:
        path = self._list(split)
        if not path.is_file():
            there = sorted(p.stem for p in self._lists.glob("*.txt"))
            splits = [split_called(s) or s for s in there if "_" not in s]
            check_split(self.name, split=split, splits=splits)
        lines = map(str.strip, read_text(path).splitlines())
        return [self._id_in(_form(line)) for line in lines if line]

    def _id_in(self, line: str) -> str:
        """Returns the id that a line of a list holds; ids may hold spaces themselves."""
        # Lists of a single class have 1, 0 or -1 behind the id.
        before, _, last = line.rpartition(" ")
        found = [line] if last not in ("1", "0", "-1") else [line, before.rstrip()]
        for one in found:
            if one in self._annotations or one in self._images:
                return one
        # Some write the name of the file, or a path to it, of their own system.
        stem = pathlib.PureWindowsPath(found[-1]).stem
        return stem if stem in self._annotations else found[-1]


def _by_stem(folder: pathlib.Path, *, extensions: tuple[str, ...]) -> dict[str, list[str]]:
    """Returns name without ending -> the files of that name, as paths below `folder`."""
    found: dict[str, list[str]] = {}
    for file in files_below(folder, extensions=extensions):
        found.setdefault(_form(pathlib.PurePath(file).stem), []).append(file)
    return found


def _form(name: str) -> str:
    # Letters such as é have two spellings, and systems disagree about which to store.
    return unicodedata.normalize("NFC", name)
