"""One training step and one evaluation of any head of its task, as pure functions."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from small_fusion import RESNET, VIT, build
from task_batches import batch_for, task_for

from hybrid_jax.config import defaults
from hybrid_jax.contracts import Features
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import build_model


@functools.cache
def features_of(fusion, *, hw, dtype):
    """Returns what a head sees of a fusion: channels, width and the features' shapes.

    All of it hashable, so that what is alike needs to be looked at once.
    """
    specs = [dataclasses.replace(spec, dtype=dtype) for spec in (RESNET, VIT)]
    built = build(fusion, resnet=specs[0], vit=specs[1])
    images = jax.ShapeDtypeStruct((2, *hw, 3), jnp.float32)
    features = jax.eval_shape(
        lambda params, images: built.apply(params, images, train=False),
        built.params,
        images,
    )
    module = built.module
    return (
        tuple(module.channels.items()),
        module.width,
        tuple((s, x.shape, x.dtype.name) for s, x in features.maps.items()),
        (features.pooled.shape, features.pooled.dtype.name),
    )


def stand_in_for(seen):
    """Returns a fusion that gives constants, its parameters, of the shapes seen."""
    channels, width, maps, pooled = seen

    class StandIn(nnx.Module):
        parts = ()
        starts_as = None

        def __init__(self, resnet_spec, vit_spec, *, image_size, rngs):
            self.channels, self.width = dict(channels), width
            self.maps = nnx.List([nnx.Param(jnp.zeros(*rest)) for _, *rest in maps])
            self.pooled = nnx.Param(jnp.zeros(*pooled))

        def __call__(self, images, *, train=False, key=None):
            strides = [stride for stride, *_ in maps]
            given = {s: x[...] for s, x in zip(strides, self.maps, strict=True)}
            return Features(maps=given, pooled=self.pooled[...])

    return StandIn


@dataclasses.dataclass(frozen=True)
class Step:
    """A model and its task, taken apart.

    Attributes:
        params, rest: shapes of the model's parameters and of its other state.
        train: pure (params, rest, batch, key) -> ((total, Mean), gradients).
        evaluate: pure (params, rest, batch) -> (outputs, sums, predictions).
        batch: two rows.
        task: it.
        num_classes: K of the head.
    """

    params: nnx.State
    rest: nnx.State
    train: object
    evaluate: object
    batch: dict
    task: object
    num_classes: int


def step_of(fusion, head, *, hw, dtype="float32"):
    """Describes a registered fusion under a registered head, built for other sizes."""
    task, num_classes = task_for(HEADS.get(head).task, hw=hw)
    model = defaults("tiny").model
    model.update(fusion=fusion, head=head, dtype=dtype)
    model.resnet_options.update(blocks=RESNET.blocks, width=RESNET.width)
    sizes = dict(width=VIT.width, depth=VIT.depth, heads=VIT.heads, mlp_dim=VIT.mlp_dim)
    model.vit_options.update(sizes)
    model = nnx.eval_shape(
        lambda: build_model(
            model, num_classes=num_classes, image_size=(64, 96), rngs=nnx.Rngs(params=0)
        )
    )
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, rest, batch, key):
        model = nnx.merge(graph, params, rest, copy=True)
        batch = task.augment(batch, key=key)
        outputs = model(
            batch["image"],
            train=True,
            key=key,
            content_yxyx_px=batch.get("content_yxyx_px"),
            targets=batch,
        )
        mean = task.loss(outputs, batch)
        return mean.total, mean

    def evaluate(params, rest, batch):
        model = nnx.merge(graph, params, rest, copy=True)
        content = batch.get("content_yxyx_px")
        outputs = task.infer(model, batch["image"], content_yxyx_px=content)
        return outputs, task.metrics(outputs, batch), task.predict(outputs, batch)

    return Step(
        params=params,
        rest=rest,
        train=jax.value_and_grad(loss, has_aux=True),
        evaluate=evaluate,
        batch=batch_for(task.targets, hw=hw),
        task=task,
        num_classes=num_classes,
    )


@functools.cache
def check_head_takes(head, seen, *, hw, dtype):
    """Trains a step and evaluates a batch, in shapes alone, on features as `seen`."""
    FUSIONS.names()
    before = FUSIONS._entries
    FUSIONS._entries = before | {"stand_in": stand_in_for(seen)}
    try:
        step = step_of("stand_in", head, hw=hw, dtype=dtype)
        _check(step)
    finally:
        FUSIONS._entries = before


def _check(step):
    key = jax.random.key(0)
    (total, mean), gradients = jax.eval_shape(
        step.train, step.params, step.rest, step.batch, key
    )
    numbers = dict(total=total, count=mean.count, **mean.parts)
    for name, value in numbers.items():
        found = (value.shape, value.dtype.name)
        assert found == ((), "float32"), f"the loss's {name} is {found}"
    wanted = jax.tree.map(lambda x: (x.shape, x.dtype.name), step.params)
    found = jax.tree.map(lambda x: (x.shape, x.dtype.name), gradients)
    assert found == wanted
    outputs, sums, predictions = jax.eval_shape(
        step.evaluate, step.params, step.rest, step.batch
    )
    for leaf in jax.tree.leaves((outputs, sums)):
        assert leaf.dtype != jnp.bfloat16, "heads give float32 (losses need it)"
    for name, leaf in predictions.items():
        assert leaf.shape[0] == 2, f"prediction {name} lost the batch: {leaf.shape}"
