"""Workdirs of small models of any task that were saved without being trained."""

import jax
import numpy as np
from ml_collections import ConfigDict
from small_run import small_config

from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.dataset_record import claim_dataset, record_of
from hybrid_jax.train.checkpoints.workdir import claim
from hybrid_jax.train.experiment import prepare

TASKS = {
    "classification": {"data.name": "digits"},
    "detection": {
        "data.name": "shapes",
        "task.name": "detection",
        "task.detection.score_threshold": 0.0,
        "task.detection.max_detections": 7,
        "model.head": "fcos",
        "model.head_options": dict(fcos=dict(strides=(4,), tower_channels=8, num_convs=1)),
        "data.image_size": (32, 48),
    },
    "segmentation": {
        "data.name": "shapes",
        "task.name": "segmentation",
        "model.head": "linear_pixels",
        "data.image_size": (32, 48),
    },
}


def config_of(task, changes=None):
    small = {"eval.batch_size": 8, "model.vit_options.depth": 1}
    changes = TASKS[task] | small | (changes or {})
    options = changes.pop("model.head_options", {})
    config = small_config(changes)
    with config.unlocked():
        config.model.head_options = ConfigDict(options)
    return config


def saved(path, config, *, step=3, seed=0, scores=None):
    """Saves a step of random weights in the workdir `path`; returns its run and state."""
    experiment = prepare(config)
    claim(path, experiment.config)
    source = experiment.source
    record = record_of(source, source, task=config.task.name)
    claim_dataset(path, record, data=config.data.name)
    random = np.random.default_rng(seed)

    def lively(leaf, sharding):
        noise = np.abs(0.3 * random.standard_normal(leaf.shape))  # variances are positive
        noise *= random.choice([-1, 1], leaf.shape) if len(leaf.shape) > 1 else 1
        return jax.device_put(noise.astype(leaf.dtype), sharding)

    # Not `new_state`: nothing has to be compiled for noise.
    state = jax.tree.map(lively, experiment.shapes, experiment.shardings)
    state = state.replace(step=jax.device_put(np.int32(step), experiment.shardings.step))
    metric = experiment.config.checkpoint.best_metric
    checkpoints = Checkpoints(path, keep=2, best_metric=metric)
    checkpoints.save(step, state, scores=scores)
    checkpoints.close()
    return experiment, jax.device_get(state)
