"""A model with all that is needed to give it images and to name what it answers."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict
from tqdm import tqdm

from hybrid_jax.config import changed
from hybrid_jax.contracts import DatasetInfo, Task
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.reading import reading_as
from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.ops.compiler_options import cpu_options
from hybrid_jax.predicting.given_images import GivenImages
from hybrid_jax.predicting.prediction import Prediction, prediction_of
from hybrid_jax.tasks import TASKS
from hybrid_jax.train.state import split_model
from hybrid_jax.train.step import make_eval_step

# Images at a time, where memory allows. CPUs gain nothing from more.
_BATCH_ON_CPU, _BATCH = 8, 64


class Predictor:
    """Predicts for any images; compiled programs are kept from call to call.

    Args:
        model: on this process's first device, folded for inference.
        config: `data`, `task` and `model.normalization` say how images are prepared and
            what is made of the outputs.
        info: the classes.
    """

    def __init__(
        self, model: Hybrid, config: ConfigDict | FrozenConfigDict, info: DatasetInfo
    ):
        wanted = {
            "data.on_bad_image": "raise",
            "data.workers": 0,  # threads, which share what is given
            "task.segmentation.canvas": None,  # as large as the images
            "data.image_size": config.eval.image_size or config.data.image_size,
        }
        self.model, self.config, self.info = model, changed(config, wanted), info
        self._graph, self._params, self._mutable = split_model(model)
        self._steps: dict[Any, Callable] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the model's outputs."""
        by_task = dict(
            classification=self.info.class_names,
            detection=self.info.box_names,
            segmentation=self.info.segmentation_names,
        )
        return tuple(by_task[self.config.task.name])

    def __call__(
        self, images: Any, *, batch_size: int | None = None, progress: bool | None = None
    ) -> list[Prediction]:
        """Returns one prediction for each image, in order; see `predict`."""
        _check_batch_size(batch_size)
        given = GivenImages(images)
        shown = sys.stderr.isatty() if progress is None else progress
        rows = self._predictions(given, batch_size=batch_size)
        return list(
            tqdm(rows, total=len(given), desc="predicting", leave=False, disable=not shown)
        )

    def each(self, images: Any, *, batch_size: int | None = None) -> Iterator[Prediction]:
        """Yields the predictions one by one, so that memory never holds those of all."""
        _check_batch_size(batch_size)
        yield from self._predictions(GivenImages(images), batch_size=batch_size)

    def _predictions(self, images: GivenImages, *, batch_size: int | None):
        task = self._task(images.info.largest_hw)
        size = batch_size or _largest_batch(len(images))
        start = 0
        with reading_as(self.config.data):
            while start < len(images):
                try:
                    for row in self._rows(images, task, start=start, batch_size=size):
                        yield self._named(images, task, row, index=start)
                        start += 1
                except jax.errors.JaxRuntimeError as error:
                    if size == 1 or "RESOURCE_EXHAUSTED" not in str(error):
                        raise
                    size //= 2

    def _rows(self, images: GivenImages, task: Task, *, start: int, batch_size: int):
        """Yields the rows of `Task.predict` of all images from `start` on."""
        step = self._step(task)
        batches = eval_batches(
            _From(images, start=start),
            data=self.config.data,
            targets=task.targets,
            batch_size=batch_size,
        )
        waiting = None  # the host reads and draws while the device computes
        with contextlib.closing(batches):
            for batch in batches:
                ahead = step(self._params, self._mutable, dict(batch))
                yield from _split(waiting)
                waiting = ahead
            yield from _split(waiting)

    def _named(self, images: GivenImages, task: Task, row, *, index: int) -> Prediction:
        drawn_by = functools.partial(_drawn, images, task, row, index=index)
        return prediction_of(row, task, image=images.names[index], drawn_by=drawn_by)

    def _task(self, largest_hw: tuple[int, int] | None) -> Task:
        info = dataclasses.replace(self.info, largest_hw=largest_hw)
        return TASKS.get(self.config.task.name)(self.config.task, info)

    def _step(self, task: Task) -> Callable:
        """Returns the jitted step; of a task only the canvas differs from call to call."""
        canvas_hw = getattr(task, "canvas_hw", None)
        if canvas_hw not in self._steps:
            policy = self.config.model.normalization
            step = make_eval_step(self._graph, task, normalization=policy)
            # Without its sums, which the compiler then leaves out.
            self._steps[canvas_hw] = jax.jit(
                lambda *arguments: step(*arguments)[1], compiler_options=cpu_options()
            )
        return self._steps[canvas_hw]


class _From:
    """The images of a source from one on."""

    def __init__(self, images: GivenImages, *, start: int):
        self.info, self._images, self._start = images.info, images, start

    def __len__(self) -> int:
        return len(self._images) - self._start

    def __getitem__(self, index: int):
        return self._images[self._start + index]


def _check_batch_size(batch_size: Any) -> None:
    if batch_size is not None and not (isinstance(batch_size, int) and batch_size > 0):
        raise UserError(
            f"predict: batch_size: expected None or a whole number of at least 1, got "
            f"{batch_size!r}."
        )


def _largest_batch(count: int) -> int:
    """Returns a power of two, so that few programs are compiled for all numbers of images.

    Where device memory does not hold it, half of it is tried.
    """
    most = _BATCH_ON_CPU if jax.default_backend() == "cpu" else _BATCH
    return min(most, 1 << (count - 1).bit_length())


def _split(found: Any) -> Iterator[dict[str, np.ndarray]]:
    """Yields the rows of a batch of predictions that are of images, on the host."""
    if found is not None:
        found = jax.device_get(found)
        for row in np.flatnonzero(found["mask"]):
            yield {name: value[row] for name, value in found.items()}


def _drawn(images: GivenImages, task: Task, row: Any, *, index: int) -> np.ndarray:
    return task.draw(images.pixels(index), row)
