"""How much of a state each of eight devices holds under `fsdp`."""

import math

import jax
import pytest
from jax.sharding import AbstractMesh

from hybrid_jax import config as configuration
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.specs import MODELS
from hybrid_jax.train.optimization.optimizer import make_optimizer
from hybrid_jax.train.parallel.sharding import AXES, state_shardings
from hybrid_jax.train.state import make_init

# A ResNet, a small hybrid and a large one; the other models have the layers of these.
KINDS = ("resnet50", "r26_vit_s32", "r50_vit_b16")


@pytest.mark.parametrize(
    "name",
    [
        name if name in KINDS else pytest.param(name, marks=pytest.mark.slow)
        for name in MODELS
    ],
)
def test_a_device_holds_its_eighth_and_little_more(name):
    config = configuration.defaults(name)
    config.model.dtype = "float32"
    options = dict(num_classes=1000, image_size=(224, 224))
    _, _, shapes = make_init(
        lambda rngs: build_model(config.model, rngs=rngs, **options),
        make_optimizer(config.optimizer, steps=10),
        averaged=False,
    )
    mesh = AbstractMesh((1, 8, 1), AXES)
    placed = state_shardings(shapes, mesh, min_elements=config.mesh.fsdp_min_elements)
    held = sum(
        math.prod(sharding.shard_shape(leaf.shape))
        for leaf, sharding in zip(
            jax.tree.leaves(shapes), jax.tree.leaves(placed), strict=True
        )
    )
    whole = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert held <= 1.1 * whole / 8
