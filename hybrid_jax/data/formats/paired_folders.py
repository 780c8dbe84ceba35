"""`IMAGES,ANNOTATIONS`: data whose images lie in one place and what is known in another."""

import dataclasses
import pathlib

from hybrid_jax.data.formats.splits import USUAL_NAMES, usual_names
from hybrid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class PairedFolders:
    """Two paths in which `{split}` stands for what a split is called there.

    Attributes:
        name: of the data, as the user wrote it, for messages.
        images: path of the images.
        annotations: path of the rest.
    """

    name: str
    images: str
    annotations: str

    @property
    def by_split(self) -> bool:
        """Whether every split has places of its own; otherwise all share one."""
        return "{split}" in self.images + self.annotations

    def of(self, split: str) -> tuple[pathlib.Path, pathlib.Path]:
        """Returns both paths for one split; a file pattern, with `*`, stays in them.

        Raises:
            UserError: there is nothing under any of the usual names of the split.
        """
        return self._filled(self.images, split), self._filled(self.annotations, split)

    def there(self, split: str) -> bool:
        """Whether both paths lead somewhere for a split."""
        try:
            self.of(split)
        except UserError:
            return False
        return True

    def holds_out(self, split: str) -> bool:
        """Whether `split` is to be shared out of the training split.

        So are training and validation where there is no place for validation.
        """
        shared = self.by_split and split in ("train", "validation")
        return shared and self.there("train") and not self.there("validation")

    def _filled(self, pattern: str, split: str) -> pathlib.Path:
        usual = (pattern.replace("{split}", word) for word in usual_names(split))
        tried = [pathlib.Path(path).expanduser() for path in dict.fromkeys(usual)]
        for path in tried:
            if (path.parent if "*" in path.name else path).exists():
                return path
        tried = tried[: len(USUAL_NAMES.get(split, (split,)))]  # without those in capitals
        raise UserError(
            f"data {self.name!r}: split {split!r} needs {' or '.join(map(str, tried))}, "
            f"found nothing there. Check the path, or choose another split."
        )


def paired_folders(kind: str, location: str, *, example: str) -> PairedFolders:
    """Reads the text after the colon of `data.name`.

    Args:
        kind: the word before the colon.
        location: `IMAGES,ANNOTATIONS`.
        example: of a location, for the message.

    Raises:
        UserError: not two paths, or the annotations do not say which split they are of.
    """
    parts = [part.strip() for part in location.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UserError(
            f"data {kind + ':' + location!r}: expected two paths with a comma between "
            f"them, e.g. {kind}:{example}."
        )
    places = PairedFolders(f"{kind}:{location}", *parts)
    if places.by_split and "{split}" not in places.annotations:
        raise UserError(
            f"data {places.name!r}: expected {{split}} in {places.annotations!r} too: the "
            f"images of each split need annotations of their own."
        )
    return places
