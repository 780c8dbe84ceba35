"""A model of any fusion with a linear head, small and with random arrays."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from parameters import random_like

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.specs import ResNetSpec, ViTSpec

IMAGE_HW = (97, 65)  # px, multiples of nothing
K = 3
RESNET = ResNetSpec(blocks=(1, 1, 1), width=32)
VIT = ViTSpec(width=48, depth=2, num_heads=3, mlp_dim=80, pool="cls")


def example_images(*, seed=1):
    """Returns two images (2, H, W, 3) of unit variance."""
    noise = np.random.default_rng(seed).standard_normal((2, *IMAGE_HW, 3))
    return jnp.asarray(noise, jnp.float32)


def small_hybrid(name, *, resnet=None, vit=None, fusion=None, seed=2):
    """Returns (graph, state) of a model; the options change its specs and its fusion."""
    resnet = dataclasses.replace(RESNET, **(resnet or {}))
    vit = dataclasses.replace(VIT, **(vit or {}))

    def build():
        rngs = nnx.Rngs(params=0)
        backbone = FUSIONS.get(name)(
            resnet, vit, image_size=(64, 96), rngs=rngs, **(fusion or {})
        )
        head = HEADS.get("linear")(
            backbone.channels,
            width=backbone.width,
            num_classes=K,
            dtype="float32",
            rngs=rngs,
        )
        return Hybrid(backbone, head)

    graph, state = nnx.split(nnx.eval_shape(build))
    return graph, random_like(state, seed=seed)


def hybrid(name, **options):
    """Returns the model itself."""
    return nnx.merge(*small_hybrid(name, **options))
