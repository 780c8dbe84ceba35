"""`folder:PATH`: image files sorted into one folder per class."""

import pathlib

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.class_folders import (
    check_class_folders,
    folders_by_name,
    left_out_notes,
    split_folders,
)
from hybrid_jax.data.formats.classes.class_names import gap_note
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.formats.image_files import (
    EXTENSIONS,
    passed_over,
    sorted_files,
)
from hybrid_jax.data.formats.splits import (
    USUAL_NAMES,
    held_out,
    held_out_note,
    share_of,
    shared_by_class,
    shared_out_note,
)
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import UserError, nearest


@SOURCES.register("folder")
def open_folder(location: str, *, split: str) -> "FolderSource":
    """Opens the images below the folder `location`."""
    check_location("folder", location=location, example="/data/birds")
    return FolderSource(location, split=split)


class FolderSource:
    """Image files as (H, W, 3) uint8 of any size, labeled by their folder.

    Two layouts are read, each with any depth of folders below the class:

    - `SPLIT/CLASS/*.jpg`, if there is a folder for training; splits are called train or
      training; validation, valid, val or dev; test or testing, in any case. The classes
      are those of training. Without a folder for validation, a tenth of each class of
      training is held out for it (see `held_out`).
    - `CLASS/*.jpg`. Of each class a tenth is the test split, another tenth validation,
      chosen by a hash of the paths, so the same on every machine. Adding files can move
      others to another split: use the first layout to fix them.

    Files are decoded when an example is asked for; listing reads names only. Hidden files
    and folders and what systems leave behind never count (see `is_left_out`); other files
    that are no images, and images in no folder of a class, are counted in `info.notes`.

    Args:
        location: the folder.
        split: "train", "validation" or "test".

    Raises:
        UserError: a missing folder, split or class, a class without images, or folders
            that look as if their parts were classes or splits (see `check_class_folders`).
    """

    def __init__(self, location: str, *, split: str):
        self._root = pathlib.Path(location).expanduser()
        name = f"folder:{location}"
        if not self._root.is_dir():
            raise UserError(
                f"data {name!r}: there is no folder {self._root}. Expected one that holds "
                f"train/CLASS/*.jpg or CLASS/*.jpg: check the path after folder:."
            )
        splits = split_folders(self._root, name=name)
        parent = splits.get("train", self._root)
        folders = folders_by_name(parent, name=name)
        notes = check_class_folders(list(folders.values()), parent=parent, name=name)
        read = (parent, splits.get(split, parent))
        notes += left_out_notes(self._root, splits=splits, parents=read)
        classes = tuple(folders)
        if all(map(str.isdecimal, classes)) and (gaps := gap_note(list(map(int, classes)))):
            notes.append(gaps)
        others: list[str] = []
        if not splits:
            check_split(name, split=split, splits=USUAL_NAMES)
            whole = self._images(folders, name=name, others=others)
            paths = shared_by_class(whole, split=split, share=share_of)
            notes.append(shared_out_note(sum(map(len, whole.values()))))
        elif split in splits and not (split == "train" and "validation" not in splits):
            paths = self._other_split(splits[split], classes, name=name, others=others)
        else:
            check_split(name, split=split, splits=sorted({*splits, "validation"}))
            whole = self._images(folders, name=name, others=others)
            paths = shared_by_class(whole, split=split, share=held_out)
            out = shared_by_class(whole, split="validation", share=held_out)
            count, of = (sum(map(len, named.values())) for named in (out, whole))
            notes.append(held_out_note(count, of=of))
        counts = [len(paths.get(c, ())) for c in classes]
        if not sum(counts):
            raise UserError(f"data {name!r}: split {split!r} has no images.")
        self._paths = [path for c in classes for path in paths.get(c, ())]
        self._labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
        if others:
            notes.append(passed_over(others))
        self.info = DatasetInfo(
            num_classes=len(classes), class_names=classes, notes=tuple(notes)
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Example:
        """Decodes one file; `image_id` is its path below the location.

        Raises:
            BadImageError: the file cannot be read.
        """
        path = self._paths[index]
        image = read_image(self._root / path)
        return {"image": image, "label": int(self._labels[index]), "image_id": path}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._root / self._paths[index]

    def labeled_names(self) -> list[tuple[int, str]]:
        """Returns the label and the path of each image."""
        return list(zip(self._labels.tolist(), self._paths, strict=True))

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        path = self._paths[index]
        hw = image_hw(self._root / path)
        return {"original_hw": hw, "label": int(self._labels[index]), "image_id": path}

    def _other_split(
        self,
        parent: pathlib.Path,
        classes: tuple[str, ...],
        *,
        name: str,
        others: list[str],
    ) -> dict[str, list[str]]:
        """Returns class -> paths below the root, for a folder that is one split."""
        folders = folders_by_name(parent, name=name)
        for called in folders:
            if called not in classes:
                raise UserError(
                    f"data {name!r}: class {called!r} of {parent} is not among the "
                    f"{len(classes)} classes of the train split.{nearest(called, classes)}"
                )
        return self._images(folders, name=name, others=others)

    def _images(
        self, folders: dict[str, pathlib.Path], *, name: str, others: list[str]
    ) -> dict[str, list[str]]:
        """Returns class -> image files, relative to the root, sorted; adds to `others`."""
        paths = {}
        for called, folder in folders.items():
            below = folder.relative_to(self._root).as_posix()
            images, rest = sorted_files(folder)
            if not images:
                raise UserError(
                    f"data {name!r}: class folder {folder} has no images "
                    f"({' '.join(EXTENSIONS)}). Fill it or remove it."
                )
            paths[called] = [f"{below}/{file}" for file in images]
            others += [f"{below}/{file}" for file in rest]
        return paths
