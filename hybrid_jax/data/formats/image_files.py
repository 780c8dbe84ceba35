"""Which files are images, and where they lie below a folder."""

import collections
import os
import pathlib
from collections.abc import Iterator, Sequence

EXTENSIONS = (
    *(
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".avif",
        ".avifs",
    ),
    *(".bmp", ".dib", ".gif", ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".tga", ".qoi"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".sgi", ".ras", ".dds", ".ico", ".psd"),
)
"""Endings of the pictures that Pillow reads, in lower case."""

# What systems and archives leave beside people's files, in lower case.
_NEVER_FOLDERS = {
    *("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"),
}
_NEVER_FILES = {"thumbs.db", "desktop.ini", "icon\r"}


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name never counts, as hidden ones do not."""
    return name[0] == "." or name.lower() in _NEVER_FOLDERS | _NEVER_FILES


def folders_in(parent: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders directly in another one that count, sorted by name."""
    with os.scandir(parent) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not is_left_out(e.name))
    return [parent / name for name in names]


def images_in(parent: pathlib.Path) -> list[str]:
    """Returns the names of the images directly in a folder that count, sorted."""
    with os.scandir(parent) as entries:
        names = [e.name for e in entries if not is_left_out(e.name) and not e.is_dir()]
    return sorted(name for name in names if name.lower().endswith(EXTENSIONS))


def files_below(
    folder: pathlib.Path, *, extensions: tuple[str, ...] = EXTENSIONS
) -> list[str]:
    """Returns the files at any depth, as paths below `folder` with `/`, sorted.

    Names are read and nothing else; what `is_left_out` names is left out.

    Args:
        extensions: in lower case; the files may have them in upper case too.
    """
    return sorted_files(folder, extensions=extensions)[0]


def sorted_files(
    folder: pathlib.Path, *, extensions: tuple[str, ...] = EXTENSIONS
) -> tuple[list[str], list[str]]:
    """Returns the files of `files_below`, and those of other endings, both sorted."""
    wanted: list[str] = []
    others: list[str] = []
    for path in _walk(os.fspath(folder), below="", above=frozenset()):
        (wanted if path.lower().endswith(extensions) else others).append(path)
    return sorted(wanted), sorted(others)


def passed_over(paths: Sequence[str]) -> str:
    """Returns a sentence that counts files which are no images; '' if there are none."""
    if not paths:
        return ""
    endings = (pathlib.PurePath(path).suffix.lower() or "no ending" for path in paths)
    counts = collections.Counter(endings).most_common()
    kinds = ", ".join(f"{count} {ending}" for ending, count in counts)
    return f"passed over {len(paths)} files that are no images ({kinds}), e.g. {paths[0]}"


def _walk(folder: str, *, below: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        state = os.stat(folder)
        identity = (state.st_dev, state.st_ino)
        if identity in above:  # a link to a folder that this one lies in
            return
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not is_left_out(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        if entry.is_dir():
            inside = f"{below}{entry.name}/"
            yield from _walk(entry.path, below=inside, above=above | {identity})
        else:
            yield below + entry.name
