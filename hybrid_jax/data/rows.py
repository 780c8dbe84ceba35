"""Single rows of batches: examples read, replaced if unreadable, and padded."""

from typing import Any

import numpy as np

from hybrid_jax.contracts import Source
from hybrid_jax.data.transforms import EvalTransform, TrainTransform
from hybrid_jax.errors import BadImageError, UserError


class ReadableExamples:
    """A source that never raises for a bad image but gives the next good one.

    Args:
        source: what to read.

    Example `i` is the first readable one of i, i + 1, ... (around the end), so it depends
    on nothing but `i` and the files; `skipped` counts those passed over.
    """

    def __init__(self, source: Source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns the example with `skipped` added.

        Raises:
            UserError: not one image of the data set is readable.
        """
        total = len(self._source)
        for skipped in range(total):
            try:
                example = self._source[(index + skipped) % total]
            except BadImageError as error:
                last_error = error
                continue
            return {**example, "skipped": skipped}
        raise UserError(
            f"none of the {total} images can be read. The last error: {last_error}"
        )


class TrainRow:
    """Turns an example into a row of a training batch.

    Args:
        transform: what to do with the image.
    """

    def __init__(self, transform: TrainTransform):
        self._transform = transform

    def __call__(
        self, example: dict[str, Any], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Returns `image`, `label`, `mask` (True) and `skipped`."""
        return {
            "image": self._transform(example["image"], rng),
            "label": np.int32(example["label"]),
            "mask": np.bool_(True),
            "skipped": np.int32(example.get("skipped", 0)),
        }


class EvalRows:
    """All examples of a source in order, then masked zeros up to `num_rows`.

    Args:
        source: what to read.
        transform: what to do with each image.
        num_rows: length, at least that of the source.
        skip_bad: whether an unreadable image becomes a masked row with `skipped` 1;
            otherwise its `BadImageError` is raised.
    """

    def __init__(
        self, source: Source, *, transform: EvalTransform, num_rows: int, skip_bad: bool
    ):
        self._source = source
        self._transform = transform
        self._num_rows = num_rows
        self._skip_bad = skip_bad

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if index >= len(self._source):
            return self._masked(skipped=0)
        try:
            example = self._source[index]
        except BadImageError:
            if not self._skip_bad:
                raise
            return self._masked(skipped=1)
        return {
            "image": self._transform(example["image"]),
            "label": np.int32(example["label"]),
            "mask": np.bool_(True),
            "skipped": np.int32(0),
        }

    def _masked(self, *, skipped: int) -> dict[str, np.ndarray]:
        return {
            "image": np.zeros((*self._transform.hw, 3), np.uint8),
            "label": np.int32(0),
            "mask": np.bool_(False),
            "skipped": np.int32(skipped),
        }
