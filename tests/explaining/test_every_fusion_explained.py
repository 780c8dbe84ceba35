"""Every fusion can be explained, and the pass that shows attention is the model's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_hybrid import IMAGE_HW, K, example_images, small_hybrid

from hybrid_jax.explaining.explain import explain_traced
from hybrid_jax.explaining.observed_model import run_observed
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of

# Attention in the ViT, in a ResNet, of learned tokens to maps and back.
KINDS = ("vit", "botnet", "mobile_former")
NO_RESNET = {"simple_fpn", "vit"}
NO_VIT = {"botnet", "resnet"}
NO_TOKENS = NO_VIT | {"mobile_former"}
NO_POSITIONS = NO_TOKENS | {"stage_swap"}
SAMPLED = {"vit_adapter", "vit_comer"}


def largest_difference(name, **options):
    """Returns how far the logits are from those of the model itself."""
    graph, state = small_hybrid(name, **options)
    images = example_images()

    @jax.jit
    def plain(state):
        return nnx.merge(graph, state, copy=True)(images).logits

    @jax.jit
    def observed(state):
        return run_observed(graph, state, images).outputs.logits

    expected = np.asarray(plain(state))
    assert np.ptp(expected, axis=0).max() > 0.01  # the images differ, and are told apart
    return np.abs(np.asarray(observed(state)) - expected).max()


@pytest.mark.parametrize("name", KINDS)
def test_attention_with_weights_equals_the_fused_one(name):
    assert largest_difference(name) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FUSIONS.names()) - set(KINDS)))
def test_attention_with_weights_equals_the_fused_one_in_every_other_fusion(name):
    assert largest_difference(name) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        dict(vit=dict(remat="full", block_loop="scan"), resnet=dict(remat="dots")),
        dict(vit=dict(pool="attention", positions="rope2d", num_register_tokens=2)),
        dict(fusion=dict(attention="windowed", window_size=2)),
        dict(fusion=dict(attention="deformable")),
    ],
    ids=["remat-scan", "probe-rope-registers", "windowed", "deformable"],
)
def test_attention_with_weights_equals_the_fused_one_with_options(options):
    assert largest_difference("fpn_tokens", **options) <= 1e-5


@functools.cache
def traced(name):
    """Returns the explanation of a fusion with shapes in place of arrays."""
    graph, state = small_hybrid(name)
    images = jnp.zeros((2, *IMAGE_HW, 3))
    return jax.eval_shape(lambda state: explain_traced(graph, state, images), state)


# Those that are traced in a second or less; the others take longer.
QUICK = (
    "botnet",
    "conv_stem",
    "mobile_former",
    "resnet",
    "simple_fpn",
    "stage_swap",
    "vit",
)
EVERY = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in FUSIONS.names()
]


@pytest.mark.parametrize("name", EVERY)
def test_every_fusion_is_explained_or_says_what_it_has_not(name):
    found = traced(name)
    kinds = {line.partition(":")[0] for line in found.missing}
    stages = [cam for cam in found.cams if cam != "tokens"]
    assert bool(stages) == (name not in NO_RESNET)
    assert ("Grad-CAM of a ResNet" in kinds) == (name in NO_RESNET)
    assert ("tokens" in found.cams) == (name not in NO_TOKENS)
    assert ("Grad-CAM of tokens" in kinds) == (name in NO_TOKENS)
    assert (found.rollout is not None) == (name not in NO_TOKENS)
    assert ("attention rollout" in kinds) == (name in NO_TOKENS)
    assert (found.position_similarity is not None) == (name not in NO_POSITIONS)
    assert ("position similarity" in kinds) == (name in NO_POSITIONS)
    assert bool(found.attention) == (name != "resnet")
    assert ("attention maps" in kinds) == (name in SAMPLED | {"resnet"})
    assert all(line.endswith(".") for line in found.missing)


@pytest.mark.parametrize("name", EVERY)
def test_maps_are_cells_of_the_image(name):
    found = traced(name)
    maps = [*found.cams.values(), *(layer.heads for layer in found.attention)]
    maps += [found.rollout] if found.rollout is not None else []
    for cells in maps:
        assert cells.values.shape[-2:] == grid_of(IMAGE_HW, cells.stride)
        assert cells.values.shape[0] == 2
    for levels in found.levels.values():
        for stride, energy in levels.items():
            assert energy.shape == (2, *grid_of(IMAGE_HW, stride))
    assert found.scores.shape == found.classes.shape == (2,)
    assert K == 3
