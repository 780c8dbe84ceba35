"""Pictures and settings that the tests of the data layer share."""

import pathlib

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from hybrid_jax.config import defaults
from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.errors import BadImageError


def data_config(**changes) -> ConfigDict:
    """Returns `config.data` for images of 12x16 px on one thread, with `changes`."""
    data = defaults().data
    data.image_size = (12, 16)
    data.threads = 1
    data.update(changes)
    return data


def random_image(seed: int = 0, *, hw: tuple[int, int] = (20, 30)) -> np.ndarray:
    """Returns noise, (H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


def write_class_folders(root: pathlib.Path, counts: dict[str, int]) -> None:
    """Writes `counts[folder]` PNGs of different colors into each folder below `root`."""
    for number, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            color = (number * 20, i, 255 - i)
            Image.new("RGB", (16, 12), color).save(root / folder / f"{i:03d}.png")


def truncate(path: pathlib.Path) -> None:
    """Cuts the file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


class NumberedSource:
    """Example i is an image of the gray level i and the label i; some raise.

    Args:
        length: how many examples, at most 256.
        bad: indices that cannot be read.
    """

    def __init__(self, length: int, *, bad: tuple[int, ...] = ()):
        self.info = DatasetInfo(length, tuple(str(i) for i in range(length)))
        self.length = length
        self.bad = bad

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if index in self.bad:
            raise BadImageError(f"image 'number_{index}.jpg' cannot be read: torn.")
        return {"image": np.full((12, 16, 3), index, np.uint8), "label": index}
