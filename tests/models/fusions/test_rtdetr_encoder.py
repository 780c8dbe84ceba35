"""`rtdetr_encoder`: the order of its two paths, against the same path by hand."""

import dataclasses

import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.rtdetr_encoder import CrossScale, RTDETREncoder
from hybrid_jax.specs import ResNetSpec

BATCH = ResNetSpec(norm="batch", width=32)


class AttentionPooled(RTDETREncoder):
    """One more block and a ViT whose pooling has parameters, for the guarantees."""

    def __init__(self, resnet, vit, *, image_size, rngs):
        vit = dataclasses.replace(vit, pool="attention", registers=2)
        super().__init__(
            resnet, vit, image_size=image_size, rngs=rngs, depth=2, csp_blocks=1
        )


def double(x, hw):
    """Nearest neighbour, cell by cell."""
    y = np.zeros((len(x), *hw, x.shape[-1]), np.float32)
    for i, j in np.ndindex(hw):
        y[:, i, j] = x[:, i // 2, j // 2]
    return y


def test_cross_scale_goes_down_then_up_and_meets_the_laterals():
    graph, state = nnx.split(
        nnx.eval_shape(
            lambda: CrossScale(
                BATCH, 8, strides=(8, 16, 32), csp_blocks=1, rngs=nnx.Rngs(params=0)
            )
        )
    )
    pyramid = nnx.merge(graph, random_like(state))
    rng = np.random.default_rng(0)
    s8, s16, s32 = (
        jnp.asarray(rng.standard_normal((2, *hw, 8)), jnp.float32)
        for hw in ((9, 13), (5, 7), (3, 4))
    )

    def join(layer, *xs):
        return layer(jnp.concatenate(xs, -1), train=False)

    l32 = pyramid.lateral[1](s32, train=False)
    f16 = join(pyramid.down[1], double(l32, (5, 7)), s16)
    l16 = pyramid.lateral[0](f16, train=False)
    n8 = join(pyramid.down[0], double(l16, (9, 13)), s8)
    n16 = join(pyramid.up[0], pyramid.coarsen[0](n8, train=False), l16)
    n32 = join(pyramid.up[1], pyramid.coarsen[1](n16, train=False), l32)
    ours = pyramid([s8, s16, s32], train=False)
    for got, expected in zip(ours, (n8, n16, n32), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_attention_is_on_the_coarsest_map_alone():
    module = nnx.eval_shape(lambda: guarantees.construct(RTDETREncoder))
    names = names_and_leaves(nnx.state(module))
    assert names["vit.position"].shape == (2, 3, 48)  # 64 x 96 px at stride 32
    assert names["vit.embed.kernel"].shape == (1, 1, 1024, 48)
    assert {name.split(".")[2] for name in names if name.startswith("vit.blocks")} == {"0"}
    # One block of a ramp from zero would never be dropped.
    assert module.vit.blocks[0].drop_path == 0.5


def test_nothing_of_the_vits_pooling_is_left_without_gradient():
    guarantees.check_gradient_reaches_everything(AttentionPooled)


def test_the_only_block_is_dropped_by_the_key():
    graph, state = nnx.split(nnx.eval_shape(lambda: guarantees.construct(RTDETREncoder)))
    state, x = random_like(state), jnp.ones((2, 2, 3, 1024))

    @jax.jit
    def attend(state, key):
        return nnx.merge(graph, state)._attend(x, key=key)

    # Two branches of two examples: two keys agree once in sixteen times.
    outputs = [np.asarray(attend(state, jax.random.key(seed))) for seed in range(8)]
    np.testing.assert_array_equal(outputs[0], attend(state, jax.random.key(0)))
    assert len({output.tobytes() for output in outputs}) > 3


def test_a_dilated_resnet_gives_the_strides_it_has():
    resnet = dataclasses.replace(guarantees.RESNET, output_stride=8)
    built = guarantees.build(RTDETREncoder, resnet=resnet)
    assert built.module.channels == {4: 128, 8: 256}
    images = jax.ShapeDtypeStruct((2, 33, 65, 3), jnp.float32)
    maps = jax.eval_shape(built.apply, built.params, images).maps
    assert maps[8].shape == (2, 5, 9, 256)


def test_what_it_cannot_build_is_one_line():
    def build(resnet=guarantees.RESNET, **options):
        RTDETREncoder(
            resnet,
            guarantees.VIT,
            image_size=(64, 96),
            rngs=nnx.Rngs(params=0),
            **options,
        )

    for name in ("depth", "channels", "csp_blocks"):
        with pytest.raises(UserError, match=rf"{name}: expected 1 or more, got 0\."):
            build(**{name: 0})
    with pytest.raises(UserError, match=r"stride 8 or more, got blocks \(2,\)"):
        build(dataclasses.replace(guarantees.RESNET, blocks=(2,)))
