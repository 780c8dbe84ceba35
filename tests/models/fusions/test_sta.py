"""`sta`: which ViT level meets which detail, against numpy in float64."""

import dataclasses

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.sta import SpatialTuningAdapter, evenly_spaced
from hybrid_jax.ops.rescale import average_pool, upsample


class Light(SpatialTuningAdapter):
    """The fusion with its light branch, for the guarantees' default options."""

    def __init__(self, *specs, image_size, rngs):
        super().__init__(*specs, image_size=image_size, rngs=rngs, detail="light")


def build(*, resnet=small_fusion.RESNET, vit=small_fusion.VIT, **options):
    return SpatialTuningAdapter(
        resnet, vit, image_size=(64, 96), rngs=nnx.Rngs(params=0), **options
    )


@pytest.mark.parametrize(
    ("depth", "count", "taps"),
    [(12, 3, (3, 7, 11)), (4, 3, (1, 2, 3)), (24, 3, (7, 15, 23)), (1, 3, (0, 0, 0))],
)
def test_levels_part_the_depth_evenly(depth, count, taps):
    assert evenly_spaced(depth, count) == taps


def test_a_shallow_level_meets_fine_detail_and_a_deep_one_coarse():
    built = small_fusion.build(SpatialTuningAdapter)
    graph, params = nnx.split(built.module)
    params = random_like(params)
    images = small_fusion.example_images()

    @jax.jit
    def forward(params, images):
        module = nnx.merge(graph, params)
        vit = module.vit
        tokens, hw = vit.embed_map(images)
        states = []
        for index in range(4):
            tokens = vit.run_block(index, tokens, hw=hw)
            states.append(vit.norm(tokens)[:, 1:].reshape(2, *hw, -1))
        return module(images), states, module.resnet(images, train=False)

    features, states, detail = forward(params, images)
    semantic = {
        8: upsample(states[1], (8, 12), factor=2),
        16: states[2],
        32: average_pool(states[3], factor=2),
    }
    np.testing.assert_array_equal(features.maps[4], detail[4])
    joins = as_float64(params)["join"]
    for index, (stride, level) in enumerate(semantic.items()):
        x = np.concatenate([level, detail[stride]], axis=-1).astype(np.float64)
        x = x @ joins[index]["conv"]["kernel"][0, 0]
        expected = reference.group_norm(x, joins[index]["norm"], eps=1e-6, groups=8)
        np.testing.assert_allclose(features.maps[stride], expected, atol=1e-4)


def test_light_detail_keeps_the_promises_without_stages():
    odd = dict(hw=(97, 131), dtype="bfloat16")
    guarantees.check_contract(Light, **odd)
    guarantees.check_everything_is_read(Light, **odd)
    names = names_and_leaves(small_fusion.build(Light).params)
    assert {name.split(".")[1] for name in names if name[:6] == "resnet"} == {"stem"}


# Either branch passes the same lines to pooled.
@pytest.mark.parametrize(
    "fusion", [pytest.param(SpatialTuningAdapter, marks=pytest.mark.slow), Light]
)
def test_pooled_is_the_vits_vector_beside_the_coarsest_mean(fusion):
    vit = dataclasses.replace(small_fusion.VIT, depth=2)
    built = small_fusion.build(fusion, vit=vit)
    assert built.module.width == 2 * 48

    def from_pooled(params, images):
        module = nnx.merge(nnx.graphdef(built.module), params)
        features, plain = module(images), module.vit(images, train=False)[1]
        return jnp.square(features.pooled).sum(), (features, plain)

    gradient = jax.jit(jax.grad(from_pooled, has_aux=True))
    images = small_fusion.example_images()
    gradient, (one, plain) = gradient(random_like(built.params), images)
    np.testing.assert_allclose(one.pooled[:, 48:], one.maps[32].mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(one.pooled[:, :48], plain, atol=1e-4)
    # A classifier reads no map: the branch is trained by the pooled vector or not at all.
    gradient = names_and_leaves(gradient)
    detail = [n for n in gradient if n.startswith(("resnet.", "light.")) and "kernel" in n]
    assert len(detail) > 3
    for name in detail:
        assert jnp.abs(gradient[name]).max() > 1e-6, name


def test_channels_widen_pooled():
    module = nnx.eval_shape(lambda: build(channels=20))
    assert module.width == 48 + 20
    assert module.channels == {4: 128, 8: 20, 16: 20, 32: 20}


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_light_detail_has_the_vits_gelu(form):
    vit = dataclasses.replace(small_fusion.VIT, gelu=form)
    module = nnx.eval_shape(lambda: build(vit=vit, detail="light")).light
    graph, state = nnx.split(module)
    state = random_like(state)
    x = jax.random.normal(jax.random.key(1), (2, 5, 7, 32))
    ours = jax.jit(lambda state, x: nnx.merge(graph, state)(x, train=False))(state, x)
    assert list(ours) == [8, 16, 32]
    expected = np.asarray(x, np.float64)
    for stride, p in zip(ours, as_float64(state)["convs"].values(), strict=True):
        y = reference.conv(expected, p["conv"]["kernel"], stride=2, centered=True)
        expected = reference.gelu(reference.map_norm(y, p["norm"]), form)
        # The forms are 5e-4 apart at most.
        np.testing.assert_allclose(ours[stride], expected, atol=2e-5, err_msg=f"{stride}")


def test_what_it_cannot_build_is_one_line():
    with pytest.raises(UserError, match=r"detail: expected 'resnet' or 'light', got 'x'\."):
        build(detail="x")
    rootless = dataclasses.replace(small_fusion.RESNET, blocks=())
    with pytest.raises(UserError, match=r"stride 8 or more, got blocks \(\) and"):
        build(resnet=rootless)
    with pytest.raises(UserError, match=r"vit.patch_size: expected .*got 14\."):
        build(vit=dataclasses.replace(small_fusion.VIT, patch_size=14))
    with pytest.raises(UserError, match=r"channels: expected 1 or more, got 0\."):
        build(channels=0)
