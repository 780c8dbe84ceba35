"""Scores of a split under many corruptions, with the data read once."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from tqdm import tqdm

from hybrid_jax.contracts import Source
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.reading import reading_as
from hybrid_jax.ops.padding_mask import rectangle_mask
from hybrid_jax.robustness.corruptions import corrupt
from hybrid_jax.train.evaluation import PREDICTIONS_IN_FLIGHT, Gathered
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.distributed import from_main_process, is_main_process
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import TrainState

# Draws are the same for every run, so that two runs see the same images.
_SEED = 0


class Pass(NamedTuple):
    """One corruption at one severity of 1 to 5; `CLEAN` is neither."""

    corruption: str
    severity: int


CLEAN = Pass("clean", 0)


def passes_of(corruptions: Sequence[str], severities: Sequence[int]) -> list[Pass]:
    """Returns the clean pass and those of every corruption at every severity."""
    pairs = itertools.product(corruptions, severities)
    return [CLEAN, *itertools.starmap(Pass, pairs)]


def score_passes(
    experiment: Experiment, state: TrainState, source: Source, *, passes: Sequence[Pass]
) -> dict[Pass, dict[str, float]]:
    """Returns the task's scores of every pass over every example of `source`.

    Each batch is read and sent to the devices once, then corrupted there in every way. So
    memory holds the sums or the predictions of all passes until the end.

    Args:
        experiment: the restored run.
        state: its state.
        source: the split.
        passes: in the order of the result.
    """
    config, task = experiment.config, experiment.task
    rows = eval_batches(
        source,
        data=experiment.eval_data,
        targets=task.targets,
        batch_size=config.eval.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    sharding = experiment.batch_sharding
    batches = DevicePrefetch(rows, sharding=sharding, size=config.data.prefetch)
    eval_step, params = experiment.jitted_eval_step(), state.eval_params
    steps = {each: _corrupting(each, sharding=sharding) for each in passes}
    gathered = {
        each: Gathered(task.scorer(source) if is_main_process() else None)
        for each in passes
    }
    waiting: list = []
    total = -(-len(source) // config.eval.batch_size) * len(passes)
    shown = config.log.progress and is_main_process() and sys.stderr.isatty()
    # Scorers read the headers of images.
    with (
        reading_as(experiment.eval_data),
        contextlib.closing(batches),
        tqdm(total=total, desc="robustness", leave=False, disable=not shown) as bar,
    ):
        for batch, _ in batches:
            for each in passes:
                results = eval_step(params, state.mutable, steps[each](batch))
                waiting.append((gathered[each], results))
                if len(waiting) > PREDICTIONS_IN_FLIGHT:
                    collected, results = waiting.pop(0)
                    collected.add(*results)
                bar.update()
        for collected, results in waiting:
            collected.add(*results)
        return {
            each: task.summarize(found.sums) | from_main_process(found.scores)
            for each, found in gathered.items()
        }


def _corrupting(which: Pass, *, sharding: jax.sharding.Sharding) -> Callable:
    """Returns `batch -> batch` with corrupted images, compiled on the first call.

    Values are cut to whole numbers, as where the reference stores them. Padding stays.
    """
    if which == CLEAN:
        return lambda batch: batch

    def images(image: jax.Array, index: jax.Array, content: jax.Array | None):
        key = jax.random.key(_SEED)
        name, severity = which
        new = corrupt(image, key, name=name, severity=severity, index=index)
        new = new.astype(jnp.uint8)
        if content is None:
            return new
        inside = rectangle_mask(content, hw=(image.shape[1], image.shape[2]))[..., None]
        return jnp.where(inside, new, image)

    step = jax.jit(images, in_shardings=sharding, out_shardings=sharding)

    def corrupted(batch: dict) -> dict:
        content = batch.get("content_yxyx_px")
        return batch | {"image": step(batch["image"], batch["index"], content)}

    return corrupted
