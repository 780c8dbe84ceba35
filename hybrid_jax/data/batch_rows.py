"""Single rows of batches: examples read, replaced if unusable, and padded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.contracts import Example, Source
from hybrid_jax.data.transforms.dense import DenseRows
from hybrid_jax.data.transforms.image import EvalTransform, TrainTransform
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


def errors_to_skip(data: ConfigDict) -> tuple[type[UserError], ...]:
    """Returns the errors of single examples that `config.data` wants passed over."""
    chosen = {BadImageError: data.on_bad_image, BadAnnotationError: data.on_bad_annotation}
    return tuple(error for error, choice in chosen.items() if choice == "skip")


class ReadableExamples:
    """A source that never raises for a bad example but gives the next good one.

    Args:
        source: what to read.
        skip: the errors that make an example a bad one; others are raised.

    Example `i` is the first readable one of i, i + 1, ... (around the end), so it depends
    on nothing but `i` and the files; `skipped` counts those passed over.
    """

    def __init__(self, source: Source, *, skip: tuple[type[UserError], ...]):
        self._source = source
        self._skip = skip

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns the example with `skipped` added.

        Raises:
            UserError: not one example of the data set is readable.
        """
        total = len(self._source)
        for skipped in range(total):
            try:
                example = self._source[(index + skipped) % total]
            except self._skip as error:
                last_error = error
                continue
            return {**example, "skipped": skipped}
        raise UserError(
            f"none of the {total} examples can be read. The last error: {last_error}"
        )


class LabelRows:
    """Turns examples into `image` and `label`.

    Args:
        data: the resolved `config.data`.
    """

    def __init__(self, data: ConfigDict):
        self._train, self._evaluate = TrainTransform(data), EvalTransform(data)

    def train(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Crops and augments one training example."""
        image = self._train(example["image"], rng)
        return {"image": image, "label": np.int32(example["label"])}

    def evaluate(self, example: Example) -> dict[str, np.ndarray]:
        """Resizes one example, the same every time."""
        image = self._evaluate(example["image"])
        return {"image": image, "label": np.int32(example["label"])}

    def empty(self) -> dict[str, np.ndarray]:
        """Returns a row of the same keys and types that holds nothing."""
        image = np.zeros((*self._evaluate.hw, 3), np.uint8)
        return {"image": image, "label": np.int32(0)}


def rows_for(targets: Sequence[str], *, data: ConfigDict) -> LabelRows | DenseRows:
    """Returns what makes rows with these targets: "label", or "boxes", "segmentation".

    Raises:
        UserError: `config.data` asks for what such data cannot be put through.
    """
    if tuple(targets) != ("label",):
        return DenseRows(data, targets)
    if data.crop in ("letterbox", "scale_jitter"):
        raise UserError(
            f"config.data.crop: expected 'resize', 'random_resized' or 'pad' for data with "
            f"labels, got {data.crop!r}, which is for boxes and masks."
        )
    return LabelRows(data)


class TrainRow:
    """Turns an example into a row of a training batch.

    Args:
        rows: what to make of it.
    """

    def __init__(self, rows: LabelRows | DenseRows):
        self._rows = rows

    def __call__(
        self, example: dict[str, Any], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Returns the row with `mask` (True) and `skipped`."""
        return self._rows.train(example, rng) | {
            "mask": np.bool_(True),
            "skipped": np.int32(example.get("skipped", 0)),
        }


class EvalRows:
    """All examples of a source in order, then masked zeros up to `num_rows`.

    Args:
        source: what to read.
        rows: what to make of each example.
        num_rows: length, at least that of the source.
        skip: the errors that make an example a masked row with `skipped` 1; others are
            raised.
    """

    def __init__(
        self,
        source: Source,
        *,
        rows: LabelRows | DenseRows,
        num_rows: int,
        skip: tuple[type[UserError], ...],
    ):
        self._source = source
        self._rows = rows
        self._num_rows = num_rows
        self._skip = skip

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if index >= len(self._source):
            return self._masked(index, skipped=0)
        try:
            example = self._source[index]
        except self._skip:
            return self._masked(index, skipped=1)
        return self._rows.evaluate(example) | {
            "mask": np.bool_(True),
            "skipped": np.int32(0),
            "index": np.int32(index),
        }

    def _masked(self, index: int, *, skipped: int) -> dict[str, np.ndarray]:
        return self._rows.empty() | {
            "mask": np.bool_(False),
            "skipped": np.int32(skipped),
            "index": np.int32(index),
        }
