"""Images of a YOLO data set and the label files beside them: images/a.jpg, labels/a.txt."""

import os
import pathlib
import unicodedata
from collections.abc import Sequence

from hybrid_jax.data.formats.image_files import EXTENSIONS, is_left_out, sorted_files
from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.data.formats.written_paths import found_file
from hybrid_jax.data.formats.yolo.yaml_file import YoloData
from hybrid_jax.errors import UserError

_NO_IMAGES = (".txt", ".cache", ".yaml")  # what lies beside images and is meant to
_NO_LABELS = {"classes", "labels", "notes"}  # lists that tools leave among labels
_FOLDERS = ("images", "jpegimages")  # `labels` takes the place of the last such folder


def images_of(
    data: YoloData, places: Sequence[str], *, others: list[str]
) -> dict[str, pathlib.Path]:
    """Returns the images that a split's paths stand for, by their names below the root.

    Args:
        data: of the whole data set.
        places: folders, which stand for all images below them; text files with the path
            of an image a line; or images.
        others: files in the folders that are neither images nor text are added to it.

    Returns:
        Name with `/` -> path, sorted by name. Images that a text file lists need not exist.

    Raises:
        UserError: a path leads nowhere.
    """
    found: list[pathlib.Path] = []
    for written in places:
        place = _there(data, written)
        if place.is_dir():
            images, rest = sorted_files(place)
            found += [place / file for file in images]
            others += [f for f in rest if not f.lower().endswith(_NO_IMAGES)]
        elif place.suffix.lower() in EXTENSIONS:
            found.append(place)
        else:
            found += _listed(place, data)
    root = os.path.abspath(data.roots[0] if data.roots[0].is_dir() else data.path.parent)
    named = {}
    for path in found:
        name = pathlib.PurePath(os.path.relpath(path, root)).as_posix()
        named[unicodedata.normalize("NFC", name)] = path
    return dict(sorted(named.items()))


class LabelFiles:
    """Finds the label file of an image; reads every folder once."""

    def __init__(self):
        self._folders: dict[pathlib.Path, dict[str, pathlib.Path]] = {}
        self._beside: set[pathlib.Path] = set()  # folders of images

    def of(self, image: pathlib.Path) -> pathlib.Path | None:
        """Returns the path of the label file; None if there is none."""
        stem = unicodedata.normalize("NFC", image.stem)
        self._beside.add(image.parent)
        return self._in(label_folder(image.parent)).get(stem)

    def without_image(self) -> list[pathlib.Path]:
        """Returns label files, of the folders asked for, that no image has, sorted.

        Text beside images may be anything, so only folders of labels count.
        """
        found = []
        for images in self._beside:
            folder = label_folder(images)
            if folder != images and images.is_dir():
                stems = {pathlib.PurePath(name).stem for name in os.listdir(images)}
                stems = {unicodedata.normalize("NFC", stem) for stem in stems} | _NO_LABELS
                found += [p for stem, p in self._in(folder).items() if stem not in stems]
        return sorted(found)

    def _in(self, folder: pathlib.Path) -> dict[str, pathlib.Path]:
        if folder not in self._folders:
            files = {}
            if folder.is_dir():
                for name in sorted(os.listdir(folder)):
                    stem, ending = os.path.splitext(name)
                    if ending.lower() == ".txt" and not is_left_out(name):
                        files[unicodedata.normalize("NFC", stem)] = folder / name
            self._folders[folder] = files
        return self._folders[folder]


def label_folder(images: pathlib.Path) -> pathlib.Path:
    """Returns where the labels of images in a folder lie; the same folder, if nowhere."""
    parts = list(images.parts)
    for at in reversed(range(len(parts))):
        if parts[at].lower() in _FOLDERS:
            parts[at] = "labels"
            return pathlib.Path(*parts)
    return images


def check_stems(images: dict[str, pathlib.Path]) -> None:
    """Raises `UserError` if two images would have the same label file."""
    first: dict[pathlib.PurePath, str] = {}
    for name in images:
        stem = pathlib.PurePosixPath(name).with_suffix("")
        if stem in first:
            raise UserError(
                f"{images[first[stem]]} and {images[name]} differ by their extension "
                f"alone, and so share a label file. Keep one of them, or rename one."
            )
        first[stem] = name


def _there(data: YoloData, written: str) -> pathlib.Path:
    inside = written.replace("\\", "/")
    # Exports of web tools count from a folder that is not there.
    ways = [inside, inside.removeprefix("../"), inside.lstrip("./")]
    for root in data.roots:
        for way in dict.fromkeys(ways):
            place = root / way if way else root
            if place.exists():
                return place
    place = found_file(data.path.parent, written)  # an absolute path of another machine
    if place.exists():
        return place
    raise UserError(
        f"{data.path}: there is no {written!r} in {data.roots[0]}. Expected a folder of "
        f"images or a text file with their paths, relative to the folder under path, or to "
        f"that of the yaml file."
    )


def _listed(place: pathlib.Path, data: YoloData) -> list[pathlib.Path]:
    lines = [line.strip() for line in read_text(place).splitlines() if line.strip()]
    paths = []
    for line in lines:
        ways = (found_file(root, line) for root in (place.parent, *data.roots))
        paths.append(next(filter(os.path.exists, ways), place.parent / line))
    if paths and not any(map(os.path.exists, paths)):
        raise UserError(
            f"{place}: expected paths of images, one a line, but there is no {paths[0]}."
        )
    return paths
