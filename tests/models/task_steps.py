"""One training step and one evaluation under any head, by the task it is for."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from small_fusion import BUILT_FOR, RESNET, VIT, build
from task_batches import batch_for, task_for

from hybrid_jax.config import defaults
from hybrid_jax.contracts import Features
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import build_model

_NOT_READ = 8  # width of `pooled` for heads that read maps
_AWKWARD_WIDTH = 58  # of `pooled`
# 256 is what many heads project to, and then need not.
_AWKWARD_CHANNELS = {4: 34, 8: 46, 16: 58, 32: 256}

# Options by head: of layers that are alike a first and a last one are looked at.
FEWER_LAYERS = dict(detr=dict(decoder_layers=2))


@dataclasses.dataclass(frozen=True)
class Step:
    """A model and its task, taken apart.

    Attributes:
        params: shapes of the model's parameters.
        rest: shapes of its other state.
        targets: what its task asks of a batch.
        loss: pure (params, rest, batch, key) -> (total, Mean), in training.
        evaluate: pure (params, rest, batch) -> (outputs, sums, predictions).
        read: pure (params, rest, images) -> the arrays of the features that, by its
            contract, the head reads, in training.
    """

    params: nnx.State
    rest: nnx.State
    targets: tuple[str, ...]
    loss: Callable
    evaluate: Callable
    read: Callable


def build_model_of(fusion, head, *, dtype="float32", depth=VIT.depth, options=None):
    """Builds a registered fusion under a registered head; its arrays are only shapes."""
    _, num_classes = task_for(HEADS.get(head).task, hw=BUILT_FOR)
    config = defaults("tiny").model
    config.update(fusion=fusion, head=head, dtype=dtype)
    config.head_options.unlock().update({head: options or {}})
    config.resnet_options.update(blocks=RESNET.blocks, width=RESNET.width)
    sizes = dict(width=VIT.width, depth=depth, num_heads=VIT.num_heads, mlp_dim=VIT.mlp_dim)
    config.vit_options.update(sizes)
    built = dict(num_classes=num_classes, image_size=BUILT_FOR)
    return nnx.eval_shape(lambda: build_model(config, rngs=nnx.Rngs(params=0), **built))


def step_of(fusion, head, **how):
    """Describes a model as the training step sees it; `how` as in `build_model_of`."""
    task, _ = task_for(HEADS.get(head).task, hw=BUILT_FOR)
    graph, params, rest = nnx.split(build_model_of(fusion, head, **how), nnx.Param, ...)

    def loss(params, rest, batch, key):
        model = nnx.merge(graph, params, rest, copy=True)
        batch = task.augment(batch, key=key)
        content = batch.get("content_yxyx_px")
        options = dict(train=True, key=key, content_yxyx_px=content, targets=batch)
        mean = task.loss(model(batch["image"], **options), batch)
        return mean.total, mean

    def evaluate(params, rest, batch):
        model = nnx.merge(graph, params, rest, copy=True)
        content = batch.get("content_yxyx_px")
        outputs = task.infer(model, batch["image"], content_yxyx_px=content)
        return outputs, task.metrics(outputs, batch), task.predict(outputs, batch)

    def read(params, rest, images):
        model = nnx.merge(graph, params, rest, copy=True)
        features = model.features(images, train=True, key=None)
        strides = (how.get("options") or {}).get("strides", HEADS.get(head).strides)
        return [features.maps[s] for s in strides] if strides else features.pooled

    return Step(params, rest, task.targets, loss, evaluate, read)


def read_by(head, fusion):
    """Returns what a head reads of a fusion: ((stride, C), ...) of maps, and the width.

    By its contract those are the strides it names, or `pooled` if it names none; and all
    maps where one of the strides has to be made. Fusions with the same strides are alike
    to a head then, and are looked at once: numbers of channels are stood for by such that
    are awkward for groups and heads of attention.
    """
    module, strides = build(fusion).module, HEADS.get(head).strides
    if not strides:
        return (), _AWKWARD_WIDTH
    given = module.channels
    kept = strides if set(strides) <= set(given) else given
    return tuple((s, _AWKWARD_CHANNELS.get(s, given[s])) for s in sorted(kept)), _NOT_READ


def stand_in_for(seen, *, dtype):
    """Returns a fusion that keeps the contract with parameters of its own for features.

    Args:
        seen: from `read_by`.
    """
    maps, width = seen
    unread = ((16, 1),)  # where the head reads no map

    class StandIn(nnx.Module):
        parts = ()
        starts_as = None

        def __init__(self, resnet_spec, vit_spec, *, image_size, rngs):
            self.width = width
            self.channels = dict(maps) or dict(
                unread
            )  # `build_fusion` asks for the coarsest
            self.maps = nnx.List([nnx.Param(jnp.zeros(c)) for _, c in maps])
            self.pooled = nnx.Param(jnp.zeros(width))

        def __call__(self, images, *, train=False, key=None):
            B, H, W, _ = images.shape
            arrays = [x[...].astype(dtype) for x in self.maps] or [jnp.zeros(1, dtype)]
            given = {}
            for (s, c), x in zip(maps or unread, arrays, strict=True):
                given[s] = jnp.broadcast_to(x, (B, -(-H // s), -(-W // s), c))
            pooled = jnp.broadcast_to(self.pooled[...].astype(dtype), (B, width))
            return Features(maps=given, pooled=pooled)

    return StandIn


@functools.cache
def check_head_takes(head, seen, *, hw=(97, 131)):
    """A head and its task train and answer, in shapes alone, in bfloat16.

    Nothing is computed, the head has its default options but for `FEWER_LAYERS`, and in
    place of the fusion stands one with maps of its strides and channels. The size is not
    that for which the model is built, and a multiple of nothing. That each head has a
    gradient is looked at in `test_every_head.py`, where steps are computed.

    Args:
        seen: from `read_by`.
    """
    FUSIONS.names()
    with pytest.MonkeyPatch.context() as patch:
        more = dict(stand_in=stand_in_for(seen, dtype="bfloat16"))
        patch.setattr(FUSIONS, "_entries", FUSIONS._entries | more)
        options = FEWER_LAYERS.get(head)
        step = step_of("stand_in", head, dtype="bfloat16", options=options)
    state, key = (step.params, step.rest), jax.random.key(0)
    batch = batch_for(step.targets, hw=hw)

    total, mean = jax.eval_shape(step.loss, *state, batch, key)
    _check_loss(total, mean)

    outputs, sums, predictions = jax.eval_shape(step.evaluate, *state, batch)
    for leaf in jax.tree.leaves((outputs, sums)):
        assert leaf.dtype != jnp.bfloat16, "heads give float32 (losses need it)"
    for name, leaf in predictions.items():
        assert leaf.shape[0] == 2, f"prediction {name!r} lost the batch: {leaf.shape}"


def _check_loss(total, mean):
    for name, value in dict(total=total, count=mean.count, **mean.parts).items():
        assert _kind(value) == ((), "float32"), f"the loss's {name} is {_kind(value)}"


def _kind(x):
    return x.shape, x.dtype.name
