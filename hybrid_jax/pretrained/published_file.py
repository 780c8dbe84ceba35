"""A file of published weights, opened: its dialect, its model, its arrays."""

import dataclasses
import pathlib

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.array_file import open_arrays
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Dialect,
    Entry,
    Hints,
    Preprocessing,
    Stored,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.sidecar import preprocessing_beside
from hybrid_jax.pretrained.source import local_file


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """What is known of a file from its list of arrays alone.

    Attributes:
        path: of the file on this machine.
        dialect: its name in the registry.
        architecture: the model it holds.
        stored: its arrays under tidied keys, not read yet.
        entries: where every array of the model stands.
    """

    path: pathlib.Path
    dialect: str
    architecture: Architecture
    stored: Stored
    entries: tuple[Entry, ...]

    def preprocessing(self) -> Preprocessing:
        """Returns how its images are prepared: by a description beside it, or as usual.

        Raises:
            UserError: a description of images that no policy of ours prepares.
        """
        return preprocessing_beside(self.path) or self.architecture.preprocessing


def open_published(source: str | pathlib.Path, *, hints: Hints) -> PublishedFile:
    """Opens the file that `source` names, see `source.local_file`.

    Args:
        hints: what the caller knows and the file may not tell.

    Raises:
        UserError: no such file, a damaged one, an unknown dialect, or a model that the
            file does not determine.
    """
    path = local_file(source)
    arrays = open_arrays(path)
    name, dialect = _recognized(arrays, path)
    stored = dialect.tidy(arrays)
    try:
        architecture = dialect.architecture(stored, hints)
    except UserError as error:
        raise UserError(f"{path} (dialect {name}): {error}") from error
    entries = tuple(dialect.entries(architecture))
    return PublishedFile(path, name, architecture, stored, entries)


def _recognized(arrays: Stored, path: pathlib.Path) -> tuple[str, Dialect]:
    for name in DIALECTS.names():
        dialect = DIALECTS.get(name)()
        if dialect.recognizes(arrays):
            return name, dialect
    some = ", ".join(sorted(arrays)[:4])
    raise UserError(
        f"{path}: none of the known layouts ({', '.join(DIALECTS.names())}). "
        f"It holds {len(arrays)} arrays: {some or 'none'}"
        f"{', …' if len(arrays) > 4 else ''}. Expected a ResNet, a ViT or a hybrid of "
        f"them, saved whole."
    )
