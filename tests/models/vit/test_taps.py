"""Tokens taken out of a ViT on the way, against the blocks run by hand."""

import jax
import numpy as np
import pytest
from flax import nnx
from parameters import random_like
from small_fusion import VIT, construct, example_images

from hybrid_jax.config import defaults
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.hybrid import build_model

HW = (49, 65)


def tapped(name, taps):
    """Returns (module with random arrays, features of a compiled call)."""
    module = nnx.eval_shape(lambda: construct(FUSIONS.get(name)))
    module.taps = taps
    graph, state = nnx.split(module)
    state = random_like(state)
    features = jax.jit(lambda state, x: nnx.merge(graph, state)(x, train=False))(
        state, example_images(HW)
    )
    return nnx.merge(graph, state), features


@pytest.mark.parametrize("name", ["sequential", "vit"])
def test_blocks_hand_out_their_tokens_before_the_last_norm(name):
    module, features = tapped(name, (2, 0))
    plain = tapped(name, ())[1]
    assert plain.intermediates == ()
    np.testing.assert_allclose(features.pooled, plain.pooled, atol=1e-5)
    images = example_images(HW)

    @jax.jit
    def by_hand(images):
        x = module.resnet(images, train=False)[16] if name == "sequential" else images
        tokens, left = module.vit.embed(x), []
        B, h, w, D = tokens.shape
        tokens = (tokens + module.vit._positions((h, w))).reshape(B, h * w, D)
        tokens = module.vit.add_prefix(tokens)
        for block in module.vit.blocks:
            tokens = block(tokens)
            left.append(tokens)
        return left

    left = by_hand(images)
    for block, number in zip(features.intermediates, (2, 0), strict=True):
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
        assert built.backbone.taps == (0, 1)
        assert built.pyramid is None
        return built(images)

    out = jax.eval_shape(run, jax.ShapeDtypeStruct((2, 64, 96, 3), "float32"))
    assert out.logits.shape == (2, 64, 96, 3)


def test_a_block_that_is_not_there_is_refused():
    module = nnx.eval_shape(lambda: construct(FUSIONS.get("vit")))
    module.taps = (0, VIT.depth)
    with pytest.raises(UserError, match="the ViT's 4 blocks, 0 to 3, got 4"):
        module(jax.ShapeDtypeStruct((2, 64, 96, 3), "float32"))
