"""`folder:PATH`: image files sorted into one folder per class."""

import collections
import os
import pathlib

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.formats.decode import read_image
from hybrid_jax.data.formats.image_files import EXTENSIONS, files_below
from hybrid_jax.data.formats.splits import SPLIT_OF_NAME, share_of
from hybrid_jax.data.source_checks import check_location, check_split
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

    - `SPLIT/CLASS/*.jpg`, if there is a folder called `train`; splits are called train,
      validation (or valid, or val) and test. The classes are those of `train`.
    - `CLASS/*.jpg`. Of each class a tenth is the test split, another tenth validation,
      chosen by a hash of the paths, so the same on every machine. Adding files can move
      others to another split: use the first layout to fix them.

    Files are decoded when an example is asked for; listing reads names only.

    Args:
        location: the folder.
        split: "train", "validation" or "test".

    Raises:
        UserError: a missing folder, split or class, or a class without images.
    """

    def __init__(self, location: str, *, split: str):
        self._root = pathlib.Path(location).expanduser()
        name = f"folder:{location}"
        if not self._root.is_dir():
            raise UserError(
                f"data {name!r}: there is no folder {self._root}. Expected one that holds "
                f"train/CLASS/*.jpg or CLASS/*.jpg: check the path after folder:."
            )
        split_folders = _split_folders(self._root, name=name)
        if split_folders:
            check_split(name, split=split, splits=split_folders)
            classes = _classes(split_folders["train"], name=name)
            paths = _list_split(split_folders[split], classes, name=name)
        else:
            check_split(name, split=split, splits=("train", "validation", "test"))
            classes = _classes(self._root, name=name)
            paths = _list_share(self._root, classes, split=split, name=name)
        counts = [len(paths[c]) for c in classes]
        if not sum(counts):
            raise UserError(f"data {name!r}: split {split!r} has no images.")
        self._paths = [path for c in classes for path in paths[c]]
        self._labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
        self.info = DatasetInfo(num_classes=len(classes), class_names=classes)

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


def _split_folders(root: pathlib.Path, *, name: str) -> dict[str, pathlib.Path]:
    """Returns split -> folder, or nothing if the classes come first."""
    folders: dict[str, pathlib.Path] = {}
    if not (root / "train").is_dir():
        return folders
    for folder in _folders(root):
        split = SPLIT_OF_NAME.get(folder.name)
        if split in folders:
            raise UserError(
                f"data {name!r}: {folders[split]} and {folder} both are the {split} "
                f"split. Rename or remove one of them."
            )
        if split:
            folders[split] = folder
    return folders


def _folders(parent: pathlib.Path) -> list[pathlib.Path]:
    with os.scandir(parent) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")
    return [parent / name for name in names]


def _classes(parent: pathlib.Path, *, name: str) -> tuple[str, ...]:
    classes = tuple(folder.name for folder in _folders(parent))
    if not classes:
        raise UserError(
            f"data {name!r}: expected one folder per class in {parent}, found none."
        )
    return classes


def _list_split(
    parent: pathlib.Path, classes: tuple[str, ...], *, name: str
) -> dict[str, list[str]]:
    """Returns class -> paths below the root, for a folder that is one split."""
    paths: dict[str, list[str]] = collections.defaultdict(list)
    for folder in _folders(parent):
        if folder.name not in classes:
            raise UserError(
                f"data {name!r}: class {folder.name!r} of {parent} is not among the "
                f"{len(classes)} classes of the train split."
                f"{nearest(folder.name, classes)}"
            )
        paths[folder.name] = _images(folder, root=parent.parent, name=name)
    return paths


def _list_share(
    root: pathlib.Path, classes: tuple[str, ...], *, split: str, name: str
) -> dict[str, list[str]]:
    """Returns class -> paths below the root, for a split taken out of every class."""
    paths = {}
    for folder in classes:
        found = _images(root / folder, root=root, name=name)
        paths[folder] = share_of(found, split=split)
    return paths


def _images(folder: pathlib.Path, *, root: pathlib.Path, name: str) -> list[str]:
    """Returns the image files below a class folder, relative to the root, sorted."""
    below = folder.relative_to(root).as_posix()
    found = [f"{below}/{file}" for file in files_below(folder)]
    if not found:
        raise UserError(
            f"data {name!r}: class folder {folder} has no images "
            f"({' '.join(EXTENSIONS)}). Fill it or remove it."
        )
    return found
