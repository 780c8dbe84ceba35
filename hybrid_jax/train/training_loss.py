"""The loss of a model on a training batch."""

from collections.abc import Callable, Mapping

import jax
from flax import nnx

from hybrid_jax.contracts import Mean, Task
from hybrid_jax.ops.normalise import normalise
from hybrid_jax.train.freezing import fix_frozen_norms, join, paths_of
from hybrid_jax.train.state import merge_model


def loss_on(
    model: nnx.Module,
    task: Task,
    batch: Mapping[str, jax.Array],
    *,
    key: jax.Array,
    normalisation: str,
) -> Mean:
    """Normalizes and augments a batch, runs the model in training and compares.

    Args:
        key: of the augmentation and of the model's random drops.
        normalisation: name of the image policy.
    """
    key_augment, key_model = jax.random.split(key)
    image = normalise(batch["image"], policy=normalisation)
    batch = task.augment(dict(batch, image=image), key=key_augment)
    outputs = model(
        batch["image"],
        train=True,
        key=key_model,
        content_yxyx_px=batch.get("content_yxyx_px"),
        targets=batch,
    )
    return task.loss(outputs, batch)


def training_loss(graph: nnx.GraphDef, task: Task, *, normalisation: str) -> Callable:
    """Returns `loss(trained, frozen, mutable, (batch, key)) -> ()`, to be traced.

    Args:
        graph: definition of the model.
        task: loss and augmentation.
        normalisation: name of the image policy.
    """

    def loss(trained: dict, frozen: dict, mutable: dict, of_step: tuple) -> jax.Array:
        model = merge_model(graph, join(trained, frozen), mutable)
        fix_frozen_norms(model, paths_of(frozen))
        batch, key = of_step
        return loss_on(model, task, batch, key=key, normalisation=normalisation).total

    return loss
