"""`classes.txt`: the names of a data set's classes, in the order of their ids."""

import pathlib

from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.errors import UserError

BACKGROUND = "_background_"  # as labelme calls it
_FILES = ("classes.txt", "class_names.txt")  # the second is labelme's
_IGNORED = "__ignore__"  # labelme's first line, of what has no id


def listed_classes(
    folder: pathlib.Path, *, most: int | None = None
) -> tuple[str, ...] | None:
    """Returns the names in `classes.txt` or `class_names.txt` of a folder.

    One a line, from id 0 on; empty lines do not count. None without such a file.

    Args:
        most: how many ids there are; None if any number will do.

    Raises:
        UserError: no names, more than there are ids, or one name twice.
    """
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    lines = read_text(path).splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if names[:1] == (_IGNORED,):
        names = names[1:]
    if not names or (most is not None and len(names) > most):
        number = "one or more names" if most is None else f"1 to {most} names"
        raise UserError(
            f"{path}: expected {number} of classes, one a line, the first for id 0; got "
            f"{len(names)}."
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: {twice!r} stands in two lines; each names one class.")
    return names
