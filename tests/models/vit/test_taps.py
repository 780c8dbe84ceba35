"""Tokens taken out of a ViT on the way, against the blocks run by hand."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx
from parameters import random_like
from small_fusion import COMPUTED, VIT, build, construct, example_images

from hybrid_jax.config import defaults
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.vit.taps import check_taps, current_taps, recording

HW = (49, 65)


# Tokens of all levels in one sequence, and tokens that belong to no place.
NO_GRID = {"fpn_tokens", "mobile_former"}
WITH_VIT = [name for name in FUSIONS.names() if "vit" in FUSIONS.get(name).parts]


@pytest.mark.parametrize("name", ["sequential", "vit"])
def test_blocks_hand_out_their_tokens_before_the_last_norm(name):
    vit = dataclasses.replace(COMPUTED["vit"], depth=3)
    fusion = functools.partial(construct, resnet=COMPUTED["resnet"], vit=vit)
    graph, state = nnx.split(nnx.eval_shape(lambda: fusion(FUSIONS.get(name))))

    def tapped(module, images, numbers):
        with recording(numbers) as taps:
            features = module(images, train=False)
        return features, taps.features(image_hw=HW, strides=features.maps)

    def by_hand(module, images):
        x = module.resnet(images, train=False)[16] if name == "sequential" else images
        tokens, left = module.vit.embed(x), []
        B, h, w, D = tokens.shape
        tokens = (tokens + module.vit._positions((h, w))).reshape(B, h * w, D)
        tokens = module.vit.add_prefix(tokens)
        for block in module.vit.blocks:
            tokens = block(tokens)
            left.append(tokens)
        return left

    @jax.jit
    def run(state, images):
        module = nnx.merge(graph, state)
        both = [tapped(module, images, numbers) for numbers in ((2, 0), ())]
        return *both, by_hand(module, images)

    (features, blocks), (plain, none), left = run(random_like(state), example_images(HW))
    assert none == ()
    np.testing.assert_allclose(features.pooled, plain.pooled, atol=1e-5)
    for block, number in zip(blocks, (2, 0), strict=True):
        assert block.stride == 16
        wanted = left[number]
        np.testing.assert_allclose(block.cls, wanted[:, 0], atol=1e-4)
        patches = wanted[:, 1:].reshape(block.map.shape)
        np.testing.assert_allclose(block.map, patches, atol=1e-4)


@pytest.mark.parametrize("name", ["sequential", "vit"])
def test_without_taps_the_program_is_the_whole_vits(name):
    module = nnx.eval_shape(lambda: construct(FUSIONS.get(name)))
    graph, state = nnx.split(module)

    def ours(state, images):
        features = nnx.merge(graph, state)(images)
        return features.maps, features.pooled

    def plain(state, images):
        module = nnx.merge(graph, state)
        if name == "vit":
            tokens, pooled = module.vit(images, train=False)
            return {16: tokens}, pooled
        maps = module.resnet(images, train=False)
        tokens, pooled = module.vit(maps[16], train=False)
        return maps | {16: tokens}, pooled

    one, other = (str(jax.make_jaxpr(f)(state, example_images())) for f in (ours, plain))
    assert one == other


def test_a_head_asks_for_its_taps_when_the_model_is_built():
    model = defaults("tiny").model
    model.update(head="dpt", dtype="float32")
    model.vit_options.update(pool="cls")
    model.head_options = dict(dpt=dict(strides=(4, 8), taps=(0, 1), hidden_dim=16))

    def run(images):
        built = build_model(
            model, num_classes=3, image_size=(64, 64), rngs=nnx.Rngs(params=0)
        )
        assert built.pyramid is None
        return built(images)

    out = jax.eval_shape(run, jax.ShapeDtypeStruct((2, 64, 96, 3), "float32"))
    assert out.logits.shape == (2, 64, 96, 3)


def shapes_of(name, numbers):
    module = build(FUSIONS.get(name), **COMPUTED).module
    graph, state = nnx.split(module)

    def run(state, images):
        with recording(numbers) as taps:
            nnx.merge(graph, state)(images, train=False)
        return taps.features(image_hw=HW, strides=module.channels)

    images = jax.ShapeDtypeStruct((2, *HW, 3), "float32")
    return jax.eval_shape(run, state, images)


@pytest.mark.parametrize("name", sorted(set(WITH_VIT) - NO_GRID))
def test_every_fusion_hands_out_the_blocks_of_its_vit(name):
    module = build(FUSIONS.get(name), **COMPUTED).module
    numbers = tuple(reversed(range(module.vit.spec.depth)))
    check_taps(module, numbers)
    for block in shapes_of(name, numbers):
        assert block.map.shape[:3] == (2, *grid_of(HW, block.stride))


@pytest.mark.parametrize("name", sorted(NO_GRID))
def test_tokens_that_are_no_grid_are_refused(name):
    with pytest.raises(UserError, match="block 1 of this fusion's ViT are not the cells"):
        shapes_of(name, (1,))


def test_a_fusion_without_a_vit_is_refused():
    module = nnx.eval_shape(lambda: construct(FUSIONS.get("resnet")))
    check_taps(module, ())
    with pytest.raises(UserError, match="expected a fusion with a ViT, got"):
        check_taps(module, (0,))


def test_a_block_that_is_not_there_is_refused():
    module = nnx.eval_shape(lambda: construct(FUSIONS.get("vit")))
    with pytest.raises(UserError, match="the ViT's 4 blocks, 0 to 3, got 4"):
        check_taps(module, (0, VIT.depth))


def test_a_recording_ends_with_its_block():
    with recording((0,)):
        assert current_taps() is not None
        with recording(()):
            assert current_taps() is None
    assert current_taps() is None
