"""`mnist:PATH`: MNIST, Fashion-MNIST and whatever else comes in their IDX files.

Format: LeCun, Cortes and Burges, The MNIST database of handwritten digits, 1998.
"""

import functools
import gzip
import pathlib
import struct

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.load_once import LoadOnce
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import UserError

SPLITS = ("train", "validation", "test")

_MAGIC = {1: 0x00000801, 3: 0x00000803}  # number of axes -> first four bytes, for uint8
_NUM_CLASSES = 10


@SOURCES.register("mnist")
def open_mnist(location: str, *, split: str) -> "MnistSource":
    """Opens the IDX files in the folder `location`."""
    check_location("mnist", location=location, example="/usr/share/datasets/fashion-mnist")
    return MnistSource(location, split=split)


class MnistSource:
    """Images (H, W, 3) uint8, gray in all three channels, and labels 0 to 9.

    `test` is the t10k pair of files, `validation` the last twelfth of the train pair
    (5,000 of 60,000) and `train` the rest.

    Args:
        location: folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and
            the same with `t10k`, plain or as `.gz`.
        split: "train", "validation" or "test".

    Raises:
        UserError: a file is missing or no IDX file, or images and labels do not match.
    """

    info = DatasetInfo(num_classes=_NUM_CLASSES, class_names=tuple("0123456789"))

    def __init__(self, location: str, *, split: str):
        name = f"mnist:{location}"
        check_split(name, split=split, splits=SPLITS)
        prefix = "t10k" if split == "test" else "train"
        folder = pathlib.Path(location).expanduser()
        images = _find(folder, f"{prefix}-images", axes=3)
        labels = _find(folder, f"{prefix}-labels", axes=1)
        total, num_labels = _read_shape(images, axes=3)[0], _read_shape(labels, axes=1)[0]
        if total != num_labels:
            raise UserError(
                f"data {name!r}: {images} holds {total} images but {labels} holds "
                f"{num_labels} labels. The files do not belong together."
            )
        rows = _rows(split, total)
        self._length = rows.stop - rows.start
        self._arrays = LoadOnce(
            functools.partial(_load, images, labels, rows.start, rows.stop)
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        images, labels = self._arrays.get()
        image = np.repeat(images[index][..., None], 3, axis=-1)
        return {"image": image, "label": int(labels[index])}

    def labeled_names(self) -> list[tuple[int, str]]:
        """Returns the label and the number of each example."""
        return [(int(label), str(n)) for n, label in enumerate(self._arrays.get()[1])]


def _rows(split: str, total: int) -> slice:
    held_out = total // 12
    return {
        "train": slice(0, total - held_out),
        "validation": slice(total - held_out, total),
        "test": slice(0, total),
    }[split]


def _find(folder: pathlib.Path, stem: str, *, axes: int) -> pathlib.Path:
    names = [f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"data 'mnist:{folder}': expected {names[0]} or {names[1]} in {folder}, found "
        f"neither. `apt-get install dataset-fashion-mnist` gives Fashion-MNIST as "
        f"mnist:/usr/share/datasets/fashion-mnist; MNIST itself is published as the "
        f"same four files: train-images, train-labels, t10k-images and t10k-labels."
    )


def _open(path: pathlib.Path):
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _read_shape(path: pathlib.Path, *, axes: int) -> tuple[int, ...]:
    try:
        with _open(path) as file:
            magic, *shape = struct.unpack(f">{1 + axes}I", file.read(4 * (1 + axes)))
    except (OSError, EOFError, struct.error) as error:
        raise UserError(f"{path} is not a whole IDX file: {error}.") from error
    if magic != _MAGIC[axes]:
        raise UserError(
            f"{path}: expected an IDX file of {axes} axes, which starts with "
            f"0x{_MAGIC[axes]:08x}, got 0x{magic:08x}."
        )
    return tuple(shape)


def _load(
    images: pathlib.Path, labels: pathlib.Path, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads rows start to stop as images (N, H, W) uint8 and labels (N,) uint8."""
    label_rows = _read_array(labels, axes=1)[start:stop]
    if label_rows.size and label_rows.max() >= _NUM_CLASSES:
        raise UserError(
            f"{labels}: expected labels 0 to {_NUM_CLASSES - 1}, got {label_rows.max()}."
        )
    return _read_array(images, axes=3)[start:stop], label_rows


def _read_array(path: pathlib.Path, *, axes: int) -> np.ndarray:
    shape = _read_shape(path, axes=axes)
    try:
        with _open(path) as file:
            content = np.frombuffer(file.read(), np.uint8, offset=4 * (1 + axes))
    except (OSError, EOFError) as error:
        raise UserError(f"{path} is not a whole IDX file: {error}.") from error
    expected = int(np.prod(shape, dtype=np.int64))
    if content.size != expected:
        raise UserError(
            f"{path}: its header promises {expected} bytes for shape {shape}, it holds "
            f"{content.size}. Copy the file again."
        )
    return content.reshape(shape)
