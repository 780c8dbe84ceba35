"""Small models trained for a minute to tell the textures of shapes, and their scores."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from hybrid_jax.data.shapes.shapes import SPLITS, TEXTURES, draw_example
from hybrid_jax.explaining.explain import explain
from hybrid_jax.explaining.localization.heat_map_scores import (
    box_share,
    energy_in_boxes,
    pointing_game,
)
from hybrid_jax.models.hybrid import create_model
from hybrid_jax.ops.normalize_image import normalize_image

SIZE_PX = 64
BATCH = 32
SCORED = 128
OPTIONS = dict(
    resnet_options=dict(blocks=(1, 1), width=16, norm="batch"),
    vit_options=dict(width=64, depth=3, num_heads=2, mlp_dim=128, patch_size=8),
)


def examples(split, count):
    """Returns (images normalized, textures, boxes) of the first examples of a split."""
    drawn = [draw_example(i, split=SPLITS[split], size_px=SIZE_PX) for i in range(count)]
    images = np.stack([example["image"] for example in drawn])
    textures = np.array([example["texture"] for example in drawn])
    boxes = [example["boxes_xyxy_px"] for example in drawn]
    return normalize_image(jnp.asarray(images), policy="half"), textures, boxes


def new_model(fusion):
    """Returns a model that was not trained, with a head that is not zero."""
    options = dict(fusion_options=dict(sequential=dict(stride=8)))
    model = create_model(
        "r26_vit_s16",
        num_classes=len(TEXTURES),
        image_size=SIZE_PX,
        fusion=fusion,
        **OPTIONS,
        **(options if fusion == "sequential" else {}),
    )
    kernel = model.head.logits.kernel
    noise = np.random.default_rng(0).standard_normal(kernel.shape)
    kernel[...] = jnp.asarray(0.1 * noise, jnp.float32)
    return model


def train(model, images, labels, *, steps, rate=2e-3):
    """Trains a model in place with Adam; returns its last accuracy on its batches."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 10, steps)
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss_of(params, rest, x, y):
        model = nnx.merge(graph, params, rest, copy=True)
        logits = model(x, train=True).logits
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        rest = nnx.state(model, nnx.Not(nnx.Param))
        return loss, (rest, (logits.argmax(-1) == y).mean())

    @jax.jit
    def step(params, rest, state, x, y):
        slope = jax.grad(loss_of, has_aux=True)
        gradient, (rest, right) = slope(params, rest, x, y)
        change, state = rule.update(gradient, state)
        return optax.apply_updates(params, change), rest, state, right

    rng, state, rights = np.random.default_rng(1), rule.init(params), []
    for _ in range(steps):
        chosen = rng.integers(0, len(images), BATCH)
        x, y = images[chosen], labels[chosen]
        params, rest, state, right = step(params, rest, state, x, y)
        rights.append(right)
    nnx.update(model, params, rest)
    return float(np.mean(jax.device_get(rights[-20:])))


def scores(model, images, labels, boxes):
    """Returns view -> (pointing game, energy in boxes), and `uniform`, over all images."""
    found = explain(model, images, classes=labels)
    views = found.views() | {"tokens": None}
    if "tokens" in found.cams:
        views["tokens"] = found.cams["tokens"].on_image(found.image_hw)
    result = {
        view: (
            float(pointing_game(heat, boxes).mean()),
            float(energy_in_boxes(heat, boxes).mean()),
        )
        for view, heat in views.items()
        if heat is not None
    }
    share = float(box_share(boxes, image_hw=found.image_hw).mean())
    return result | {"uniform": (share, share)}
