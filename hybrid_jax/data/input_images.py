"""Images a user names to have something predicted for them: files, folders, patterns."""

import glob
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.formats.image_files import EXTENSIONS, files_below
from hybrid_jax.errors import BadImageError, UserError


class InputImages:
    """A source of images without targets: no label, no boxes, void everywhere.

    Numbers in names count as numbers, so frames of a video come in their order.

    Args:
        inputs: files of any ending; folders, which stand for all images below them; and
            patterns such as `photos/*.jpg` or `photos/**/*.png`, which stand for images.
        leave_out: a folder whose files folders and patterns do not stand for.

    Attributes:
        info: empty but for `largest_hw`, the largest height and width among the images.
        paths: of the files, each once.
        names: what each is called below the folder or pattern that named it.
        unreadable: index of an image that could not be read -> why.

    Raises:
        UserError: nothing is named, or an input stands for no image.
    """

    def __init__(self, inputs: Sequence[str], *, leave_out: pathlib.Path):
        if not inputs:
            raise UserError(
                "--mode=predict: expected --input=PATH[,PATH...] with image files, folders "
                "or patterns, got none."
            )
        found: dict[pathlib.Path, tuple[pathlib.Path, str]] = {}
        for entry in inputs:
            for path, name in images_of(entry, leave_out=leave_out):
                found.setdefault(path.resolve(), (path, name))
        self.paths = [path for path, _ in found.values()]
        self.names = [name for _, name in found.values()]
        self.info = DatasetInfo(largest_hw=self._largest_hw())
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        """Returns `image` with empty targets of every kind.

        Raises:
            BadImageError: the file cannot be read.
        """
        try:
            image = read_image(self.paths[index])
        except BadImageError as error:
            self.unreadable[index] = str(error.__cause__)
            raise
        return dict(
            image=image,
            label=0,
            boxes_xyxy_px=np.zeros((0, 4), np.float32),
            box_labels=np.zeros(0, np.int32),
            segmentation=np.full(image.shape[:2], VOID, np.uint8),
        )

    def _largest_hw(self) -> tuple[int, int]:
        largest = (1, 1)
        for path in self.paths:
            try:
                height, width = image_hw(path)
            except BadImageError:
                continue  # reported when it is to be read whole
            largest = max(largest[0], height), max(largest[1], width)
        return largest


def images_of(
    entry: str, *, leave_out: pathlib.Path | None = None, where: str = "--input"
) -> list[tuple[pathlib.Path, str]]:
    """Returns the files one input stands for, each with its name below it.

    Args:
        entry: as one of the `inputs` of `InputImages`.
        leave_out: a folder whose files folders and patterns do not stand for.
        where: what gave the entry, for messages.

    Raises:
        UserError: it stands for no image.
    """
    path = pathlib.Path(entry).expanduser()
    if path.is_file():
        return [(path, path.name)]
    if path.is_dir():
        names = sorted(files_below(path), key=_in_numbers)
        found = [(path / name, name) for name in names]
    elif any(character in entry for character in "*?["):
        names = sorted(glob.glob(str(path), recursive=True), key=_in_numbers)
        matches = map(pathlib.Path, names)
        found = [
            (match, match.name)
            for match in matches
            if match.is_file() and match.suffix.lower() in EXTENSIONS
        ]
    else:
        raise UserError(f"{where}: there is no file or folder {str(path)!r}.")
    if leave_out is not None:
        left = leave_out.resolve()
        found = [pair for pair in found if left not in pair[0].resolve().parents]
    if not found:
        raise UserError(
            f"{where}: expected images ({' '.join(EXTENSIONS)}) for {entry!r}, found none."
        )
    return found


def _in_numbers(name: str) -> list[tuple[int, str]]:
    """Returns a key that sorts frame_2 before frame_10, as the frames of a video are."""
    parts = enumerate(re.split(r"([0-9]+)", name))  # every other one is a number
    return [(int(part), part) if n % 2 else (-1, part) for n, part in parts]
