"""Batches of the evaluation, changed on the device by one pass."""

from collections.abc import Callable
from typing import Any

import jax

from hybrid_jax.errors import UserError
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.robustness.passes import CLEAN, Pass
from hybrid_jax.robustness.suite import Batch, Draw, Suite
from hybrid_jax.robustness.suites import SUITES
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.sharding import replicated
from hybrid_jax.train.state import TrainState, merge_model

# Draws are the same for every run, so that two runs see the same images.
_SEED = 0


class BatchChanger:
    """Makes the images of each pass; programs are compiled when they are first needed.

    Args:
        experiment: the restored run.
        state: its state.
    """

    def __init__(self, experiment: Experiment, state: TrainState):
        self._experiment = experiment
        self._model = (state.eval_params, state.mutable)
        self._programs: dict[tuple, Callable] = {}

    def __call__(self, batch: dict[str, jax.Array], which: Pass) -> dict[str, jax.Array]:
        """Returns the batch (on the devices) as the pass wants it.

        Raises:
            UserError: the task has no loss that an attack could raise.
        """
        if which == CLEAN:
            return batch
        suite: Suite = SUITES.get(which.suite)()
        fixed = which.strength if suite.compiled_for_each_strength else None
        key = (which.suite, which.line, fixed)
        if key not in self._programs:
            self._programs[key] = self._program(suite, which.line, fixed=fixed)
        return batch | self._programs[key](*self._model, batch, float(which.strength))

    def _program(self, suite: Suite, line: str, *, fixed: float | None) -> Callable:
        experiment = self._experiment

        def change(params: dict, mutable: dict, batch: dict, strength: jax.Array) -> dict:
            draw = Draw(line, strength if fixed is None else fixed, jax.random.key(_SEED))

            def loss(image: jax.Array) -> jax.Array:
                return _loss(experiment, params, mutable, batch=batch, image=image)

            return suite.change(batch, draw, loss_gradient=jax.grad(loss))

        mesh, rows = experiment.mesh, experiment.batch_sharding
        shardings = experiment.shardings
        return jax.jit(
            experiment.traced(change),
            in_shardings=(shardings.params, shardings.mutable, rows, replicated(mesh)),
            out_shardings=rows,
            compiler_options=experiment.compiler_options,
        )


def _loss(
    experiment: Experiment, params: Any, mutable: Any, *, batch: Batch, image: jax.Array
) -> jax.Array:
    """Returns the sum of the loss that is reported for a split, so without smoothing."""
    task = experiment.task
    model = merge_model(experiment.graph, params, mutable)
    inputs = normalize_image(image, policy=experiment.config.model.normalization)
    outputs = task.infer(model, inputs, content_yxyx_px=batch.get("content_yxyx_px"))
    sums = task.metrics(outputs, batch)
    if "loss" not in sums:
        raise UserError(
            f"the metrics of task {experiment.config.task.name!r} have no sum 'loss', "
            f"whose gradient attacks need. Leave out attacks and occlusion of --suites."
        )
    return sums["loss"]
