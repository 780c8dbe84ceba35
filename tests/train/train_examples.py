"""Experiments, meshes and batches that the tests of the training half share."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from small_run import small_config

from hybrid_jax.config import to_json
from hybrid_jax.train import resolve_config as resolve_module
from hybrid_jax.train.experiment import Experiment, prepare
from hybrid_jax.train.parallel import sharding
from hybrid_jax.train.state import TrainState

# No warm-up, so that the first step moves something. One block of the transformer, since
# most of a test is tracing and compilation.
STEADY: dict[str, Any] = {
    "model.vit_options.depth": 1,
    "train.batch_size": 16,
    "optimizer.schedule": "constant",
    "optimizer.warmup_fraction": 0.0,
}

MESHES = {
    "data8": dict(data=8, fsdp=1, tensor=1),
    "fsdp8": dict(data=1, fsdp=8, tensor=1),
    "data2_fsdp2_tensor2": dict(data=2, fsdp=2, tensor=2),
    "tensor2": dict(data=4, fsdp=1, tensor=2),
}


def small_experiment(
    changes: dict[str, Any] | None = None, *, mesh: str = "data8"
) -> Experiment:
    """Prepares the small model on a mesh of the eight pretend devices, or on "single"."""
    return _prepared(tuple((STEADY | (changes or {})).items()), mesh)


@functools.cache
def _prepared(changes: tuple[tuple[str, Any], ...], mesh: str) -> Experiment:
    config = small_config(dict(changes))
    config.mesh.fsdp_min_elements = 2**8
    with pytest.MonkeyPatch.context() as patch:
        if mesh == "single":
            one = jax.make_mesh(
                (1, 1, 1),
                sharding.AXES,
                axis_types=(sharding.AxisType.Auto,) * 3,
                devices=jax.devices()[:1],
            )
            patch.setattr(resolve_module, "make_mesh", lambda axes, **_: one)
        else:
            config.mesh.update(MESHES[mesh])
        return prepare(config)


# Kept for the whole session, as the experiments are: compiling takes most of the time.
_steps: dict[int, Callable] = {}
_models: dict[tuple, tuple[dict, dict]] = {}


def train_step(experiment: Experiment) -> Callable:
    """Returns the jitted step, the same one for the same experiment."""
    if id(experiment) not in _steps:
        _steps[id(experiment)] = experiment.jitted_train_step()
    return _steps[id(experiment)]


def new_state(experiment: Experiment, *, lively: bool = False) -> TrainState:
    """Returns a new copy of the initial state.

    Args:
        lively: replace the head's zeros by noise, so that the loss depends on everything.
    """
    config = experiment.config
    params, mutable = jax.tree.map(np.copy, _initial_model(experiment))
    state = TrainState(
        step=np.int32(0),
        params=params,
        mutable=mutable,
        opt_state=_zeros(experiment.shapes.opt_state),
        ema=jax.tree.map(np.copy, params) if config.train.ema_decay > 0.0 else None,
    )
    if lively:
        head = state.params["head"]["logits"]
        head["kernel"] += np.random.default_rng(1).normal(size=head["kernel"].shape)
    return jax.device_put(state, experiment.shardings)


def _zeros(shapes):
    """Returns what every optimizer begins with, see `test_optimizer.py`."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def noise_state(experiment: Experiment) -> TrainState:
    """Returns a state of random numbers, for which nothing has to be compiled."""
    random = np.random.default_rng(0)

    def noise(leaf):
        return random.uniform(1, 99, leaf.shape).astype(leaf.dtype)

    return jax.device_put(jax.tree.map(noise, experiment.shapes), experiment.shardings)


def _initial_model(experiment: Experiment) -> tuple[dict, dict]:
    """Returns the parameters and the rest of a new model, drawn once for all its runs."""
    config = experiment.config
    same = (
        *(to_json(config.model), config.task.name, config.seed),
        tuple(config.data.image_size),
    )
    if same not in _models:

        def drawn(key):
            state = experiment.init(key)
            return state.params, state.mutable

        _models[same] = on_host(jax.jit(drawn)(jax.random.key(config.seed)))
    return _models[same]


def host_batch(number: int = 0, *, size: int = 16, real: int | None = None):
    """Returns noise with labels; only the first `real` rows are real."""
    random = np.random.default_rng(number)
    return dict(
        image=random.integers(0, 256, (size, 16, 16, 3), np.uint8),
        label=random.integers(0, 10, size).astype(np.int32),
        mask=np.arange(size) < (size if real is None else real),
    )


def put(experiment: Experiment, batch: dict[str, np.ndarray]):
    """Spreads a host batch over the mesh."""
    return jax.device_put(batch, experiment.batch_sharding)


def run_steps(experiment: Experiment, count: int, *, batch=host_batch):
    """Returns the state after `count` steps, and the scalars of each as floats."""
    step, state, scalars = train_step(experiment), new_state(experiment), []
    for number in range(count):
        state, values = step(state, put(experiment, batch(number)))
        scalars.append({name: float(value) for name, value in values.items()})
    return state, scalars


def on_host(tree):
    """Returns the arrays of a tree as NumPy arrays."""
    return jax.tree.map(np.array, tree)


def assert_trees_equal(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
