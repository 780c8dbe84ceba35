"""Set prediction learns 16 images by heart: all parts together, on the way of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from hybrid_jax.config import defaults, resolve
from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.data.sources.shapes import ShapesSource
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.tasks.detection.task import Detection

STEPS, RATE = 300, 1e-3
HEAD = dict(
    strides=(4, 8),
    num_queries=30,
    hidden_dim=64,
    num_heads=4,
    mlp_dim=128,
    decoder_layers=3,
    attention="deformable",
    query_selection=True,
    num_denoising=60,
)


def experiment():
    """A config of 16 images of 64 px, their source and one batch of all of them."""
    config = defaults()
    config.model.fusion, config.model.head = "resnet", "detr"
    config.model.resnet_options.blocks = (1, 1, 1)
    config.model.resnet_options.width = 32
    config.data.image_size, config.data.max_boxes = 64, 10
    config = resolve(config, on_cpu=True)
    source = ShapesSource(split="train", size_px=64, num_examples=16)
    loader = ExampleLoader(source, data=config.data, targets=("boxes",))
    batch = [loader.evaluate(i) for i in range(16)]
    batch = {name: jnp.asarray(np.stack([row[name] for row in batch])) for name in batch[0]}
    return (
        config,
        source,
        batch | dict(image=normalize_image(batch["image"], policy="half")),
    )


# Six minutes of one core (November 2026); AP 0.97 after 250 steps.
@pytest.mark.slow
def test_ap_of_sixteen_images_passes_nine_tenths(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_JAX_DATA", str(tmp_path))
    config, source, batch = experiment()
    task = Detection(config.task, source.info)
    branch = config.model.to_dict() | dict(head_options=dict(detr=HEAD))
    model = build_model(branch, num_classes=5, image_size=(64, 64), rngs=nnx.Rngs(params=0))
    graph, params = nnx.split(model)
    rates = optax.warmup_cosine_decay_schedule(0.0, RATE, 30, STEPS, RATE / 100)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rates))
    content = dict(content_yxyx_px=batch["content_yxyx_px"])

    def total(params, key):
        model = nnx.merge(graph, params)
        outputs = model(batch["image"], train=True, key=key, targets=batch, **content)
        loss = task.loss(outputs, batch)
        return loss.total / loss.count

    @jax.jit
    def step(params, state, number):
        key = jax.random.fold_in(jax.random.key(0), number)
        updates, state = optimizer.update(jax.grad(total)(params, key), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for number in range(STEPS):
        params, state = step(params, state, number)
    outputs = jax.jit(lambda p: nnx.merge(graph, p)(batch["image"], **content))(params)
    scorer = task.scorer(source)
    found = jax.tree.map(np.asarray, task.predict(outputs, batch))
    scorer.add(found, np.arange(16))
    assert scorer.scores()["AP"] >= 0.9
