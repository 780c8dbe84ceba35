"""`classes.txt`: the names of a data set's classes, in the order of their ids."""

import pathlib

from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.errors import UserError


def listed_classes(
    path: pathlib.Path, *, most: int | None = None
) -> tuple[str, ...] | None:
    """Returns the names in a text file, one a line from id 0 on; None without the file.

    Args:
        most: how many ids there are; None if any number will do.

    Raises:
        UserError: no names, more than there are ids, or one name twice.
    """
    if not path.is_file():
        return None
    lines = read_text(path).splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
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
