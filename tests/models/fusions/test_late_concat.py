"""`late_concat` against its two parts run on their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.late_concat import LateConcat
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.specs import ResNetSpec, ViTSpec

RESNET = ResNetSpec(blocks=(1, 1, 1), width=32)
VIT = ViTSpec(width=24, depth=1, num_heads=3, mlp_dim=32, patch_size=8)
HW = (40, 56)


def build(*, resnet=RESNET, vit=VIT):
    return LateConcat(resnet, vit, image_size=HW, rngs=nnx.Rngs(params=0))


def features_and_parts(vit=VIT):
    graph, state = nnx.split(nnx.eval_shape(lambda: build(vit=vit)))
    state = random_like(state)
    grid = tuple(side // vit.patch_size for side in HW)
    resnet = nnx.eval_shape(lambda: ResNet(RESNET, rngs=nnx.Rngs(params=0)))
    alone = nnx.eval_shape(lambda: ViT(vit, grid=grid, rngs=nnx.Rngs(params=0)))
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, *HW, 3)), jnp.float32)

    @jax.jit
    def run(state):
        parts = [
            nnx.merge(nnx.graphdef(module), state[name])(images, train=False)
            for name, module in (("resnet", resnet), ("vit", alone))
        ]
        return nnx.merge(graph, state)(images), *parts

    return run(state)


def test_each_half_is_a_part_alone():
    features, local, (tokens, pooled) = features_and_parts()
    assert {s: m.shape[-1] for s, m in features.maps.items()} == {4: 152, 8: 280, 16: 536}
    for stride, C in local.items():
        np.testing.assert_allclose(features.maps[stride][..., :-24], C, atol=1e-4)
    # At its own stride the ViT's map as it is, at a coarser one the mean of four cells,
    # the last row's of the two that there are.
    np.testing.assert_allclose(features.maps[8][..., -24:], tokens, atol=1e-4)
    coarse = features.maps[16][..., -24:]
    np.testing.assert_allclose(coarse[:, 0, 0], tokens[:, :2, :2].mean((1, 2)), atol=1e-4)
    np.testing.assert_allclose(coarse[:, 2, 0], tokens[:, 4, :2].mean(1), atol=1e-4)
    expected = np.concatenate([np.mean(local[16], (1, 2)), pooled], -1)
    np.testing.assert_allclose(features.pooled, expected, atol=1e-4)


def test_patches_coarser_than_the_resnet_get_a_map_of_their_own():
    spec = ViTSpec(width=24, depth=1, num_heads=3, mlp_dim=32, patch_size=32)
    module = nnx.eval_shape(lambda: build(vit=spec))
    assert list(module.channels) == [4, 8, 16, 32]
    assert module.channels[32] == 24


def test_patch_size_that_meets_no_stride_is_refused():
    with pytest.raises(UserError) as error:
        nnx.eval_shape(
            lambda: build(vit=ViTSpec(width=24, depth=1, num_heads=3, patch_size=14))
        )
    assert str(error.value) == (
        "fusion 'late_concat': vit.patch_size: expected a multiple or a divisor of every "
        "stride of the ResNet (4, 8, 16), got 14."
    )


def test_root_block_alone_is_refused():
    with pytest.raises(UserError, match="resnet: expected a ResNet with stages, got one"):
        nnx.eval_shape(lambda: build(resnet=ResNetSpec(blocks=())))
