"""A restored run made ready for inference: the model folded, the optimizer gone."""

import dataclasses

import jax

from hybrid_jax.models.layers.folding import fold
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.sharding import state_shardings
from hybrid_jax.train.state import TrainState, merge_model, split_model


def inference_run(
    experiment: Experiment, state: TrainState
) -> tuple[Experiment, TrainState]:
    """Returns the run with its evaluated parameters folded, for inference alone.

    While it works, memory holds what `state` holds and the folded convolutions. What it
    returns is one model, without moments and without a second copy of the parameters.

    Args:
        experiment: as `restored_run` gives it.
        state: its state; unchanged.

    Returns:
        The run whose evaluation step takes the folded state, and that state.
    """
    model = merge_model(experiment.graph, state.eval_params, state.mutable)
    fold(model)
    graph, params, mutable = split_model(model)
    folded = TrainState(step=state.step, params=params, mutable=mutable, opt_state=())
    shapes = jax.eval_shape(lambda state: state, folded)
    shardings = state_shardings(
        shapes,
        experiment.mesh,
        min_elements=experiment.config.mesh.fsdp_min_elements,
    )
    experiment = dataclasses.replace(
        experiment, graph=graph, shapes=shapes, shardings=shardings
    )
    return experiment, jax.device_put(folded, shardings)
