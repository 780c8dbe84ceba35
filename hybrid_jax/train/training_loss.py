"""The loss of a model on a training batch."""

from collections.abc import Callable, Mapping

import jax
from flax import nnx

from hybrid_jax.contracts import Mean, Task
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.train.optimization.freezing import fix_frozen_norms, join, paths_of
from hybrid_jax.train.state import merge_model


def loss_on(
    model: nnx.Module,
    task: Task,
    batch: Mapping[str, jax.Array],
    *,
    key: jax.Array,
    normalization: str,
) -> Mean:
    """Normalizes and augments a batch, runs the model in training and compares.

    Args:
        key: of the augmentation and of the model's random drops.
        normalization: name of the image policy.
    """
    key_augment, key_model = jax.random.split(key)
    image = normalize_image(batch["image"], policy=normalization)
    batch = task.augment(dict(batch, image=image), key=key_augment)
    outputs = model(
        batch["image"],
        train=True,
        key=key_model,
        content_yxyx_px=batch.get("content_yxyx_px"),
        targets=batch,
    )
    return task.loss(outputs, batch)


def training_loss(graph: nnx.GraphDef, task: Task, *, normalization: str) -> Callable:
    """Returns `loss(trained, frozen, mutable, (batch, key)) -> ()`, to be traced.

    Args:
        graph: definition of the model.
        task: loss and augmentation.
        normalization: name of the image policy.
    """

    def loss(trained: dict, frozen: dict, mutable: dict, of_step: tuple) -> jax.Array:
        model = merge_model(graph, join(trained, frozen), mutable)
        fix_frozen_norms(model, paths_of(frozen))
        batch, key = of_step
        return loss_on(model, task, batch, key=key, normalization=normalization).total

    return loss
