"""Whether folders are splits or classes, and what they look like when they are neither."""

import pathlib
import unicodedata
from collections.abc import Iterable, Mapping

from hybrid_jax.data.formats.classes.class_names import one_class_note
from hybrid_jax.data.formats.image_files import folders_in, images_in
from hybrid_jax.data.formats.splits import split_called
from hybrid_jax.errors import UserError

_NAMED = 5  # folders in a sentence


def folders_by_name(parent: pathlib.Path, *, name: str) -> dict[str, pathlib.Path]:
    """Returns the folders in another one by their names, sorted.

    Letters such as é, for which systems have two spellings, are of one spelling in the
    names that are returned.

    Args:
        parent: the folder that they lie in.
        name: of the data, for messages.

    Raises:
        UserError: two names that differ by the spelling of a letter alone.
    """
    found: dict[str, pathlib.Path] = {}
    for folder in folders_in(parent):
        called = unicodedata.normalize("NFC", folder.name)
        if called in found:
            raise UserError(
                f"data {name!r}: {parent} holds two folders {called!r}, whose names differ "
                f"by the Unicode form of a letter alone. Put their files into one of them."
            )
        found[called] = folder
    return dict(sorted(found.items()))


def split_folders(root: pathlib.Path, *, name: str) -> dict[str, pathlib.Path]:
    """Returns split -> folder, or nothing if the classes come first.

    A folder is a split if it is called like one and holds folders, or lies beside nothing
    but splits. One of images alone, beside folders of other names, is a class: `train`
    beside `bus` and `car`.

    Args:
        root: the folder that the user named.
        name: of the data, for messages.

    Raises:
        UserError: two folders for one split, or some splits without one for training.
    """
    folders: dict[str, pathlib.Path] = {}
    all_folders = folders_in(root)
    only_splits = all(split_called(folder.name) for folder in all_folders)
    for folder in all_folders:
        split = split_called(folder.name)
        if split is None or not (only_splits or folders_in(folder)):
            continue
        if split in folders:
            raise UserError(
                f"data {name!r}: {folders[split]} and {folder} both are the {split} "
                f"split. Rename or remove one of them."
            )
        folders[split] = folder
    if folders and "train" not in folders:
        found = ", ".join(folder.name for folder in folders.values())
        raise UserError(
            f"data {name!r}: the folders {found} in {root} look like splits, but there is "
            f"none called train or training. Rename the one to train on to train; or, if "
            f"they are classes, put their images directly into them."
        )
    return folders


def check_class_folders(
    folders: list[pathlib.Path], *, parent: pathlib.Path, name: str
) -> list[str]:
    """Returns sentences about what looks odd but may be meant.

    Args:
        folders: of the classes.
        parent: the folder that they lie in.
        name: of the data, for messages.

    Raises:
        UserError: there is none, one that holds folders, or one that holds splits.
    """
    if not folders:
        loose = len(images_in(parent))
        images = f" but {loose:,} image{'s' * (loose > 1)}" if loose else ""
        raise UserError(
            f"data {name!r}: expected one folder per class in {parent}, found none"
            f"{images}. Put the images of each class into a folder of its name."
        )
    notes = []
    for folder in folders:
        inside = [inner.name for inner in folders_in(folder)]
        splits = [inner for inner in inside if split_called(inner)]
        if splits and len(splits) == len(inside):
            raise UserError(
                f"data {name!r}: {folder} would be a class, but it holds folders that look "
                f"like splits: {', '.join(splits)}. If its folders are the data, write "
                f"folder:{folder}."
            )
    if len(folders) == 1:
        inside = [inner.name for inner in folders_in(folders[0])]
        if inside and not images_in(folders[0]):
            raise UserError(
                f"data {name!r}: {parent} holds one class only, {folders[0].name!r}, and "
                f"that holds the folders {', '.join(inside[:_NAMED])}. If those are the "
                f"classes or splits, write folder:{folders[0]}; if there is one class, put "
                f"its images directly into the folder."
            )
        notes.append(one_class_note((folders[0].name,)))
    elif deep := [f for f in folders if folders_in(f) and not images_in(f)]:
        inner = folders_in(deep[0])[0].name
        notes.append(
            f"{len(deep)} of {len(folders)} class folders hold nothing but folders, such "
            f"as {deep[0].name}/{inner}; all images below {deep[0].name} are one class"
        )
    return notes


def left_out_notes(
    root: pathlib.Path,
    *,
    splits: Mapping[str, pathlib.Path],
    parents: Iterable[pathlib.Path],
) -> list[str]:
    """Returns sentences about what lies beside the splits or the classes and is not read.

    Args:
        root: the folder that the user named.
        splits: of `split_folders`.
        parents: the folders that hold those of the classes.
    """
    notes = []
    beside = [f.name for f in folders_in(root) if splits and f not in splits.values()]
    if beside:
        named = ", ".join(beside[:_NAMED]) + ", …" * (len(beside) > _NAMED)
        notes.append(
            f"left out {len(beside)} folder{'s' * (len(beside) > 1)} beside the splits in "
            f"{root}: {named}"
        )
    for parent in dict.fromkeys([root, *parents]):
        if loose := images_in(parent):
            notes.append(
                f"left out {len(loose):,} image{'s' * (len(loose) > 1)} directly in "
                f"{parent}, in no folder of a class, e.g. {loose[0]}"
            )
    return notes
