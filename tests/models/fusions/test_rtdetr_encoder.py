"""`rtdetr_encoder`: from the ResNet's maps to its own in float64."""

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
from hybrid_jax.models.fusions.rtdetr_encoder import RTDETREncoder
from hybrid_jax.models.layers.folding import fold

BATCH = dataclasses.replace(small_fusion.RESNET, norm="batch")
HW = (72, 104)  # 9 x 13 cells at stride 8, 5 x 7 at 16, 3 x 4 at 32


class AttentionPooled(RTDETREncoder):
    """One more block and a ViT whose pooling has parameters, for the guarantees."""

    def __init__(self, resnet, vit, *, image_size, rngs):
        vit = dataclasses.replace(vit, pool="attention", num_register_tokens=2)
        super().__init__(
            resnet, vit, image_size=image_size, rngs=rngs, depth=2, csp_blocks=1
        )


def build(resnet=BATCH, **options):
    return RTDETREncoder(
        resnet, small_fusion.VIT, image_size=HW, rngs=nnx.Rngs(params=0), **options
    )


def run(module):
    """The maps of its ResNet and its features."""
    graph, state = nnx.split(module)

    @jax.jit
    def apply(state, images):
        module = nnx.merge(graph, state)
        return module.resnet(images, train=False), module(images)

    return apply(state, small_fusion.example_images(HW))


@pytest.fixture(scope="module")
def encoder():
    """A small one, everything random, its running statistics too."""
    module = nnx.eval_shape(lambda: build(depth=2, channels=16, csp_blocks=2))
    graph, state = nnx.split(module)
    return nnx.merge(graph, random_like(state))


@pytest.fixture(scope="module")
def outputs(encoder):
    return run(encoder)


def silu(x):
    return x / (1 + np.exp(-x))


def conv_norm(x, p, *, stride=1):
    """Convolution and BatchNorm with running statistics."""
    x, norm = (
        reference.conv(x, p["conv"]["kernel"], stride=stride, centered=True),
        p["norm"],
    )
    x = (x - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
    return x * norm["scale"] + norm["bias"]


def csp(p, *xs):
    """Two 1x1 views of the joined maps, one through the RepVGG blocks."""
    x = np.concatenate(xs, -1)
    y = silu(conv_norm(x, p["deep"]))
    for block in p["blocks"].values():
        y = silu(conv_norm(y, block["conv3"]) + conv_norm(y, block["conv1"]))
    return y + silu(conv_norm(x, p["flat"]))


def doubled(x, like):
    """Nearest neighbor, cell by cell, on the grid of `like`."""
    y = np.zeros((*like.shape[:3], x.shape[-1]))
    for i, j in np.ndindex(like.shape[1:3]):
        y[:, i, j] = x[:, i // 2, j // 2]
    return y


def test_maps_equal_float64_from_the_resnets(encoder, outputs):
    maps, features = outputs
    p, vit = as_float64(nnx.state(encoder)), as_float64(nnx.state(encoder.vit))
    c8, c16, c32 = (np.asarray(maps[stride], np.float64) for stride in (8, 16, 32))
    tokens = reference.vit_tokens(c32, vit, patch=1, heads=3)[:, 1:]  # no class token
    aifi = tokens.reshape(*c32.shape[:3], -1)
    s8, s16, s32 = (
        conv_norm(x, p["project"][level]) for level, x in enumerate((c8, c16, aifi))
    )
    q = p["pyramid"]
    l32 = silu(conv_norm(s32, q["lateral"][1]))
    f16 = csp(q["down"][1], doubled(l32, s16), s16)
    l16 = silu(conv_norm(f16, q["lateral"][0]))
    n8 = csp(q["down"][0], doubled(l16, s8), s8)
    n16 = csp(q["up"][0], silu(conv_norm(n8, q["coarsen"][0], stride=2)), l16)
    n32 = csp(q["up"][1], silu(conv_norm(n16, q["coarsen"][1], stride=2)), l32)
    expected = {4: maps[4], 8: n8, 16: n16, 32: n32}
    assert list(features.maps) == list(expected)
    for stride, ours in features.maps.items():
        theirs = np.asarray(expected[stride])
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    np.testing.assert_allclose(features.pooled, n32.mean((1, 2)), atol=1e-4)


def count(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def test_folded_encoder_keeps_one_kernel_for_each_block(encoder):
    folded = nnx.clone(encoder)
    before = count(folded.pyramid)
    fold(folded)
    # Eight blocks lose a 1x1 kernel and keep one vector of four; 8 other norms one of two.
    layers = 2 * len(folded.pyramid.lateral) + 4 * 2
    assert count(folded.pyramid) == before - 8 * (16 * 16 + 3 * 16) - layers * 16
    kernels = [
        name
        for name in names_and_leaves(nnx.state(folded.pyramid))
        if "blocks" in name and name.endswith("kernel")
    ]
    assert len(kernels) == 8


def test_attention_is_on_the_coarsest_map_alone():
    module = nnx.eval_shape(lambda: small_fusion.construct(RTDETREncoder))
    names = names_and_leaves(nnx.state(module))
    assert names["vit.position"].shape == (2, 3, 48)  # 64 x 96 px at stride 32
    assert names["vit.embed.kernel"].shape == (1, 1, 1024, 48)
    assert {name.split(".")[2] for name in names if name.startswith("vit.blocks")} == {"0"}
    # One block of a ramp from zero would never be dropped.
    assert module.vit.blocks[0].drop_path == 0.5


def test_nothing_of_the_vits_pooling_is_left_unread():
    guarantees.check_everything_is_read(AttentionPooled)


@pytest.mark.slow  # that everything is read is tested above; the default options by name
def test_nothing_of_the_vits_pooling_is_left_without_gradient():
    guarantees.check_gradient_reaches_everything(AttentionPooled)


def test_the_only_block_is_dropped_by_the_key():
    graph, state = nnx.split(nnx.eval_shape(lambda: small_fusion.construct(RTDETREncoder)))
    state, x = random_like(state), jnp.ones((2, 2, 3, 1024))

    @jax.jit
    def attend(state, key):
        return nnx.merge(graph, state)._attend(x, key=key)

    # Two branches of two examples: two keys agree once in sixteen times.
    outputs = [np.asarray(attend(state, jax.random.key(seed))) for seed in range(8)]
    np.testing.assert_array_equal(outputs[0], attend(state, jax.random.key(0)))
    assert len({output.tobytes() for output in outputs}) > 3


def test_a_dilated_resnet_gives_the_strides_it_has():
    resnet = dataclasses.replace(small_fusion.RESNET, output_stride=8)
    built = small_fusion.build(RTDETREncoder, resnet=resnet)
    assert built.module.channels == {4: 128, 8: 256}
    images = jax.ShapeDtypeStruct((2, 33, 65, 3), jnp.float32)
    maps = jax.eval_shape(built.apply, built.params, images).maps
    assert maps[8].shape == (2, 5, 9, 256)


def test_what_it_cannot_build_is_one_line():
    for name in ("depth", "channels", "csp_blocks"):
        with pytest.raises(UserError, match=rf"{name}: expected 1 or more, got 0\."):
            build(**{name: 0})
    with pytest.raises(UserError, match=r"stride 8 or more, got blocks \(2,\)"):
        build(dataclasses.replace(BATCH, blocks=(2,)))
