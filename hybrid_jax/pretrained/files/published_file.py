"""Opening a file of published weights: its dialect, model and arrays."""

import dataclasses
import pathlib

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Dialect,
    Entry,
    Hints,
    Preprocessing,
    Stored,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.array_file import open_arrays
from hybrid_jax.pretrained.files.sidecar import image_size_beside, read_preprocessing
from hybrid_jax.pretrained.files.source import local_file
from hybrid_jax.pretrained.files.wrappers import only_below, parts_by_wrapper, unwrapped

# What dialects end in, which look at the axes that an array of this name has.
_OTHER_SHAPES = (LookupError, ValueError, TypeError, AssertionError, ZeroDivisionError)


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """An opened file; its arrays are not read yet.

    Attributes:
        path: local path of the file.
        dialect: name of its dialect.
        architecture: the model in the file.
        stored: its arrays under tidied keys.
        entries: the entries of all arrays of the model.
    """

    path: pathlib.Path
    dialect: str
    architecture: Architecture
    stored: Stored
    entries: tuple[Entry, ...]

    def preprocessing(self) -> Preprocessing:
        """Returns its image preprocessing, from a JSON file next to it or the usual one.

        Raises:
            UserError: a preprocessing that this library does not have.
        """
        return read_preprocessing(self.path) or self.architecture.preprocessing


def open_published(source: str | pathlib.Path, *, hints: Hints) -> PublishedFile:
    """Opens the file that `source` names, see `source.local_file`.

    Args:
        hints: facts that some files do not contain.

    Raises:
        UserError: no such file, a damaged file, an unknown layout, or an unknown model.
    """
    path = local_file(source)
    arrays = open_arrays(path)
    try:
        arrays = only_below(arrays, hints.prefix)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    name, dialect, arrays = _recognized(arrays, path)
    hints = dataclasses.replace(hints, file_hw=image_size_beside(path))
    try:
        stored = dialect.tidy(arrays)
        architecture = dialect.architecture(stored, hints)
        entries = tuple(dialect.entries(architecture))
    except UserError as error:
        raise UserError(f"{path} (dialect {name}): {error}") from error
    except _OTHER_SHAPES as error:
        raise UserError(
            f"{path} (dialect {name}): its arrays have the names of a known model and "
            f"other shapes ({error!r}). The file is damaged or holds another model. Use "
            f"another file."
        ) from error
    return PublishedFile(path, name, architecture, stored, entries)


def _recognized(arrays: Stored, path: pathlib.Path) -> tuple[str, Dialect, Stored]:
    """Returns name and dialect of a file, and its arrays without what wraps them."""
    for inside in unwrapped(arrays):
        if found := _dialect_of(inside):
            return *found, inside
    parts = parts_by_wrapper(inside)
    known = [part for part in parts if any(map(_dialect_of, unwrapped(parts[part])))]
    if known:
        raise UserError(
            f"{path}: the arrays below {' and '.join(map(repr, known))} are a model that "
            f"can be read, but they are not all that the file holds. Choose them with "
            f"prefix={known[0].rstrip('.')!r} of load_pretrained, or "
            f"--config.model.pretrained_options.prefix={known[0].rstrip('.')}; the others "
            f"are left out then."
        )
    some = ", ".join(sorted(arrays)[:4])
    raise UserError(
        f"{path}: none of the known layouts ({', '.join(DIALECTS.names())}). "
        f"It holds {len(arrays)} arrays: {some or 'none'}"
        f"{', …' if len(arrays) > 4 else ''}. Expected a complete ResNet, ViT or hybrid of "
        f"both."
    )


def _dialect_of(arrays: Stored) -> tuple[str, Dialect] | None:
    for name in DIALECTS.names():
        dialect = DIALECTS.get(name)()
        if dialect.recognizes(arrays):
            return name, dialect
    return None
