"""The loss of a training step as a function of its arrays, for tracing."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from hybrid_jax.contracts import Task
from hybrid_jax.ops.normalise import normalise
from hybrid_jax.train.freezing import fix_frozen_norms, join, paths_of
from hybrid_jax.train.state import merge_model


def training_loss(graph: nnx.GraphDef, task: Task, *, normalisation: str) -> Callable:
    """Returns `loss(trained, frozen, mutable, (batch, key))`, as `train/step.py` has it.

    Args:
        graph: definition of the model.
        task: loss and augmentation.
        normalisation: name of the image policy.
    """

    def loss(trained: dict, frozen: dict, mutable: dict, of_step: tuple) -> Any:
        batch, key = of_step
        key_augment, key_model = jax.random.split(key)
        model = merge_model(graph, join(trained, frozen), mutable)
        fix_frozen_norms(model, paths_of(frozen))
        image = normalise(batch["image"], policy=normalisation)
        batch = task.augment(dict(batch, image=image), key=key_augment)
        outputs = model(
            batch["image"],
            train=True,
            key=key_model,
            content_yxyx_px=batch.get("content_yxyx_px"),
            targets=batch,
        )
        return task.loss(outputs, batch).total

    return loss
