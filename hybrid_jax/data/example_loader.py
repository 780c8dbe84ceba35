"""Examples of a source as rows of batches: read, transformed and laid out."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.contracts import Example
from hybrid_jax.data.batch_fields import Row, batch_fields, empty_fields
from hybrid_jax.data.formats.decoding.scaled_decoding import ScaleOf, decoded_for
from hybrid_jax.data.reading import reading_as
from hybrid_jax.data.transforms.recipe import evaluation_recipe, training_recipe
from hybrid_jax.data.transforms.sample import Sample, sample_of
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


class Examples(Protocol):
    """What is read: a `contracts.Source`, or a list of examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


class ExampleLoader:
    """Loads one row of a batch at a time; depends on nothing but index, files and `rng`.

    Args:
        source: what to read.
        data: the resolved `config.data`. Its `on_bad_image` and `on_bad_annotation` say
            which examples are passed over; the errors of others are raised.
        targets: what a row carries besides `image`, of "label", "boxes" and
            "segmentation".
    """

    def __init__(self, source: Examples, *, data: ConfigDict, targets: Sequence[str]):
        self._source = source
        self._targets = tuple(targets)
        self._max_boxes = data.max_boxes
        self._data = data
        self._hw: tuple[int, int] = tuple(data.image_size)
        self._training = training_recipe(data)
        self._evaluation = evaluation_recipe(data, targets=targets)
        # Boxes and masks are of the whole image, whose size is checked too.
        self._scaled = data.scaled_decoding and self._targets == ("label",)
        choices = {
            BadImageError: data.on_bad_image,
            BadAnnotationError: data.on_bad_annotation,
        }
        self._skip = tuple(error for error, choice in choices.items() if choice == "skip")

    def train(self, index: int, rng: np.random.Generator) -> Row:
        """Returns an augmented row with `mask` (True) and `skipped`.

        It is of the first usable example of index, index + 1, ... (around the end);
        `skipped` counts those passed over.

        Raises:
            UserError: not one example of the data set is usable.
        """
        with self._limits(self._training[0].largest_scale):
            example, skipped = self._next_usable(index)
        row = self._row(example, self._training, rng)
        return row | dict(mask=np.bool_(True), skipped=np.int32(skipped))

    def evaluate(self, index: int) -> Row:
        """Returns the row of an example with `mask`, `skipped` and `index`.

        Beyond the end of the source it is an empty one with `mask` False, and so is that
        of an unusable example, with `skipped` 1.
        """
        numbered: Row = dict(index=np.int32(index), skipped=np.int32(0))
        if index < len(self._source):
            try:
                with self._limits(self._evaluation[0].largest_scale):
                    example = self._source[index]
                row = self._row(example, self._evaluation, None)
                return row | numbered | dict(mask=np.bool_(True))
            except self._skip:
                numbered["skipped"] = np.int32(1)
        empty = empty_fields(self._hw, targets=self._targets, max_boxes=self._max_boxes)
        return empty | numbered | dict(mask=np.bool_(False))

    @contextlib.contextmanager
    def _limits(self, scale_of: ScaleOf) -> Iterator[None]:
        scale = scale_of if self._scaled else None
        with reading_as(self._data), decoded_for(scale):
            yield

    def _next_usable(self, index: int) -> tuple[Example, int]:
        total = len(self._source)
        for skipped in range(total):
            try:
                return self._source[(index + skipped) % total], skipped
            except self._skip as error:
                last_error = error
        raise UserError(
            f"none of the {total} examples can be read. The last error: {last_error}"
        )

    def _row(
        self, example: Example, recipe: Sequence[Callable[[Sample, Any], Sample]], rng: Any
    ) -> Row:
        sample = sample_of(example, self._targets)
        for transform in recipe:
            sample = transform(sample, rng)
        return batch_fields(
            sample,
            targets=self._targets,
            max_boxes=self._max_boxes,
            faulty=example.get("faulty", 0),
        )
