"""Which files are images, and where they lie below a folder."""

import os
import pathlib

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def files_below(
    folder: pathlib.Path, *, extensions: tuple[str, ...] = EXTENSIONS
) -> list[str]:
    """Returns the files at any depth, as paths below `folder` with `/`, sorted.

    Names are read and nothing else; hidden files are left out.

    Args:
        extensions: in lower case; the files may have them in upper case too.
    """
    found = []
    for directory, _, files in os.walk(folder, followlinks=True):
        below = pathlib.PurePath(os.path.relpath(directory, folder))
        found += [
            (below / file).as_posix()
            for file in files
            if file.lower().endswith(extensions) and file[0] != "."
        ]
    return sorted(found)
