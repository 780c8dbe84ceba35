"""`--mode=predict`: what a trained model says about any images."""

import collections
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config import changed
from hybrid_jax.data.input_images import InputImages
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.reading import reading_as
from hybrid_jax.predicting.written_predictions import WrittenPredictions
from hybrid_jax.train.checkpoints.recorded_source import recorded_source
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.inference_run import inference_run
from hybrid_jax.train.parallel.sharding import replicated
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import TrainState
from hybrid_jax.train.step import make_eval_step

# Batches the devices may be behind; each keeps its predictions, which can be large.
_IN_FLIGHT = 2


def predict_run(
    config: ConfigDict,
    workdir: str,
    *,
    inputs: Sequence[str],
    output: str | None = None,
    format: str = "json",
) -> list[dict[str, Any]]:
    """Restores a checkpoint and writes what it predicts for images.

    In the output directory there will be one PNG for each image with the prediction drawn
    over it; for segmentation another one, `<image>_classes.png`, whose pixels are class
    ids (and whose palette has the same colors); and `predictions.json`, all in numbers.
    Boxes scoring under `drawing.SHOWN_SCORE` are in the numbers and not drawn.

    What an earlier call has drawn there of the same images is replaced, under whatever
    names its `predictions.json` lists; all other files are left as they are.

    Classes have the names of the workdir's `dataset.json`. The data the model was trained
    on need not be on this machine; where it is, its classes must be the same still.

    Args:
        config: the one the workdir was trained with; `eval.restore` chooses "best" or
            "last".
        workdir: of the training run.
        inputs: files, folders and patterns, see `InputImages`.
        output: directory; `<workdir>/predictions` if None.
        format: "csv" or "jsonl" for that file beside `predictions.json`; or "json".

    Returns:
        What `predictions.json` has for each image, in the order of the inputs.

    Raises:
        UserError: no checkpoint, another model's, other classes, or no images. Also if
            some images cannot be read, but only after all others are done: it names them.
    """
    with reading_as(config.data):
        return _predicted(config, workdir, inputs=inputs, output=output, format=format)


def _predicted(
    config: ConfigDict,
    workdir: str,
    *,
    inputs: Sequence[str],
    output: str | None,
    format: str,
) -> list[dict[str, Any]]:
    path = epath.Path(workdir).expanduser().absolute()
    folder = pathlib.Path(output or pathlib.Path(path) / "predictions").expanduser()
    images = InputImages(inputs, leave_out=folder)
    wanted = {
        "data.on_bad_image": "skip",
        "data.workers": 0,  # threads, so that `images` can say what was wrong
        "task.segmentation.canvas": None,  # as large as the images
    }
    config = changed(config, wanted)
    source = recorded_source(config, path, largest_hw=images.info.largest_hw)
    experiment, state = inference_run(*restored_run(config, path, source=source))
    progress = experiment.config.log.progress
    written = WrittenPredictions(
        images, folder, experiment.task, format=format, progress=progress
    )
    for rows in _predictions(experiment, state, images):
        written.add(rows)
    return written.close(step=int(state.step), task=experiment.config.task.name)


def _predictions(
    experiment: Experiment, state: TrainState, images: InputImages
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the predictions of one batch after another, on the host."""
    mesh, data = experiment.mesh, experiment.eval_data
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    fitting = -(-len(images) // shares) * shares  # few images make a small batch
    batches = DevicePrefetch(
        eval_batches(
            images,
            data=data,
            targets=experiment.task.targets,
            batch_size=min(experiment.config.eval.batch_size, fitting),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
        sharding=experiment.batch_sharding,
        size=data.prefetch,
    )
    step = _jitted_step(experiment)
    waiting: collections.deque = collections.deque()
    try:
        for batch, _ in batches:
            waiting.append(step(state.params, state.mutable, batch))
            if len(waiting) > _IN_FLIGHT:
                yield jax.device_get(waiting.popleft())
        while waiting:
            yield jax.device_get(waiting.popleft())
    finally:
        batches.close()


def _jitted_step(experiment: Experiment) -> Callable:
    """Returns the evaluation step without its sums, which the compiler then leaves out."""
    policy = experiment.config.model.normalization
    step = experiment.traced(
        make_eval_step(experiment.graph, experiment.task, normalization=policy)
    )
    shardings = experiment.shardings
    return jax.jit(
        lambda *arguments: step(*arguments)[1],
        in_shardings=(shardings.params, shardings.mutable, experiment.batch_sharding),
        out_shardings=replicated(experiment.mesh),
        compiler_options=experiment.compiler_options,
    )
