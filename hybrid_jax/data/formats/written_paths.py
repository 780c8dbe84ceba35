"""The file that an annotation means by a path, whatever system wrote the path."""

import os
import pathlib
import unicodedata
from collections.abc import Iterator


def found_file(folder: pathlib.Path, written: str) -> pathlib.Path:
    """Returns the file below `folder` that a path in an annotation file stands for.

    If there is none as it is written, these are tried: backslashes as separators, the
    other Unicode form of letters such as é, and the ending in lower or upper case; last,
    for absolute paths of another machine, their ends, the longest first, and for others
    what stands behind the name of `folder` itself.

    Args:
        folder: of the images.
        written: the path as it stands there.

    Returns:
        The first file that exists; the path as it is written if none does.
    """
    plain = folder / written
    # Not `Path.exists`, which raises for names too long for the system.
    if os.path.exists(plain):
        return plain
    return next(filter(os.path.exists, _readings(folder, written)), plain)


def _readings(folder: pathlib.Path, written: str) -> Iterator[pathlib.Path]:
    windows = pathlib.PureWindowsPath(written)
    inside = pathlib.PurePosixPath(written.replace("\\", "/"))
    ends = [inside]
    if windows.is_absolute() or windows.drive or inside.is_absolute():
        parts = [part for part in inside.parts[1:] if part != ".."]
        ends = [pathlib.PurePosixPath(*parts[i:]) for i in range(len(parts))]
    elif inside.parts[:1] == (folder.name,):
        ends.append(pathlib.PurePosixPath(*inside.parts[1:]))
    for end in ends:
        for form in ("NFC", "NFD"):
            spelled = pathlib.PurePosixPath(unicodedata.normalize(form, end.as_posix()))
            for ending in (spelled.suffix, spelled.suffix.lower(), spelled.suffix.upper()):
                yield folder / spelled.with_suffix(ending)
