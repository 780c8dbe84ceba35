"""`digits`: 1,797 handwritten digits of 8x8 px that come with scikit-learn.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
"""

import functools

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_no_location, check_split
from hybrid_jax.data.load_once import LoadOnce
from hybrid_jax.data.sources import SOURCES

SPLITS = ("train", "validation", "test")


@SOURCES.register("digits")
def open_digits(location: str, *, split: str) -> "DigitsSource":
    """Opens `digits`; it takes no location."""
    check_no_location("digits", location=location)
    return DigitsSource(split=split)


class DigitsSource:
    """Digits 0 to 9 as (8, 8, 3) uint8, gray in all three channels.

    Of every ten examples of a class, in the order of scikit-learn, the ninth is in
    validation and the tenth in test: 1,444 train, 177 validation and 176 test examples.
    Each writer is in all splits, so the scores say nothing about new handwriting.

    Args:
        split: "train", "validation" or "test".

    Raises:
        UserError: another split.
    """

    info = DatasetInfo(num_classes=10, class_names=tuple("0123456789"))

    def __init__(self, *, split: str):
        check_split("digits", split=split, splits=SPLITS)
        self._arrays = LoadOnce(functools.partial(_load, split))

    def __len__(self) -> int:
        return len(self._arrays.get()[1])

    def __getitem__(self, index: int) -> Example:
        images, labels = self._arrays.get()
        return {"image": images[index], "label": int(labels[index])}

    def labeled_names(self) -> list[tuple[int, str]]:
        """Returns the label and the number of each example."""
        return [(int(label), str(n)) for n, label in enumerate(self._arrays.get()[1])]


def _load(split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels, place = all_digits()
    chosen = {"train": place % 10 < 8, "validation": place % 10 == 8}
    chosen["test"] = place % 10 == 9
    return images[chosen[split]], labels[chosen[split]]


@functools.cache  # reading the text takes longer than a small model's steps
def all_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the images, the labels, and each example's rank within its class."""
    # Importing scikit-learn takes a second that other data sets need not wait for.
    from sklearn.datasets import load_digits
    from sklearn.utils import Bunch

    digits = load_digits()
    assert isinstance(digits, Bunch)  # the other choice is a pair of arrays
    place = np.empty(len(digits.target), np.int64)
    for label in range(10):
        members = np.flatnonzero(digits.target == label)
        place[members] = np.arange(len(members))
    # Gray levels are 0 to 16.
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1), digits.target, place
