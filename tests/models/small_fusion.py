"""A fusion built small, and taken apart so that pure functions can run it."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from parameters import random_like

from hybrid_jax.contracts import Features
from hybrid_jax.models.layers.replaced import with_quick_counts
from hybrid_jax.specs import ResNetSpec, ViTSpec

# Four stages and four blocks, so that fusions which meet at every stage have four places.
RESNET = ResNetSpec(blocks=(1, 1, 1, 1), width=32)
VIT = ViTSpec(width=48, depth=4, num_heads=3, mlp_dim=80, drop_path=0.5)
# What is compiled is smaller: three stages and two blocks, so a first and a last place.
COMPUTED = dict(
    resnet=dataclasses.replace(RESNET, blocks=(1, 1, 1)),
    vit=dataclasses.replace(VIT, depth=2),
)
BUILT_FOR = (64, 96)
# Multiples of nothing: larger and wide, smaller and tall. Of the latter all is computed.
AWKWARD = (97, 131)
OTHER_HW = (65, 33)

# Every kind of part, each at least once; kinds that can be together share a program. All
# four stages are there where stages differ from one another.
BATCH_NORM = "batch-mean-sincos-remat"
BFLOAT16 = "bfloat16-timm-dilated-attention-rope-registers"
PART_VARIANTS = {
    BATCH_NORM: dict(
        resnet=dict(norm="batch", root="deep", shortcut="pooled", remat="dots"),
        vit=dict(pool="mean", positions="sincos2d", remat="full", dropout=0.1),
    ),
    BFLOAT16: dict(
        resnet=dict(
            numerics="timm", output_stride=16, preactivation=True, dtype="bfloat16"
        ),
        vit=dict(
            gelu="erf",
            pool="attention",
            positions="rope2d",
            num_register_tokens=2,
            layer_scale=1e-4,
            dtype="bfloat16",
        ),
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Built:
    """One fusion, taken apart so that pure functions can run it.

    Attributes:
        module: the fusion itself, its arrays only shapes.
        params: their shapes.
        apply: pure (params, images, **kw) -> Features.
        forward: jitted (params, images) -> Features in eval mode.
        read: jitted (params, images) -> those Features, and the gradient of a random
            reading of them: one program to compile for all that is looked at in either.
    """

    module: nnx.Module
    params: nnx.State
    apply: object
    forward: object
    read: object


def build(fusion, *, resnet=RESNET, vit=VIT, built_for=BUILT_FOR) -> Built:
    """Describes a fusion with its default options; each once."""
    return _build(fusion, resnet, vit, built_for)


@functools.cache
def _build(fusion, resnet, vit, built_for):
    parts = dict(resnet=resnet, vit=vit)
    module = nnx.eval_shape(lambda: construct(fusion, **parts, built_for=built_for))
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    rest = random_like(rest)

    def apply(params, images, **kw) -> Features:
        return nnx.merge(graph, params, rest, copy=True)(images, **kw)

    forward = functools.partial(apply, train=False)
    return Built(
        module=module,
        params=params,
        apply=apply,
        forward=jax.jit(forward),
        read=jax.jit(lambda params, images: _read(forward, params, images)),
    )


def _read(forward, params, images):
    def reading(params):
        features, total = forward(params, images), 0.0
        for array in jax.tree.leaves(features):
            # By numpy: a draw of every shape would be a program to compile.
            rng = np.random.default_rng(array.size)
            weights = rng.standard_normal(array.shape).astype(np.float32)
            total += jnp.vdot(weights, array) / math.sqrt(array.size)
        return total, features

    gradient, features = jax.grad(reading, has_aux=True)(params)
    return features, gradient


def variant(name: str) -> dict:
    """Returns what `build` takes for one of `PART_VARIANTS`, for a larger image."""
    options = PART_VARIANTS[name]
    dilated = "output_stride" in options["resnet"]
    parts = dict(resnet=RESNET, vit=VIT) if dilated else COMPUTED
    changed = {
        part: dataclasses.replace(spec, **options[part]) for part, spec in parts.items()
    }
    return dict(built_for=AWKWARD, **changed)


def construct(fusion, *, resnet=RESNET, vit=VIT, built_for=BUILT_FOR):
    """Calls a fusion's constructor the way `build_fusion` does."""
    rngs = with_quick_counts(nnx.Rngs(params=0))
    return fusion(resnet, vit, image_size=built_for, rngs=rngs)


def example_images(hw=BUILT_FOR, *, seed=1):
    """Returns two images of unit variance."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((2, *hw, 3)), jnp.float32)
