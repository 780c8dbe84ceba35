"""DPT's pieces against torch, its levels and what it asks of a fusion.

The whole decoder is compared with transformers' own in the tests of published weights.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_head import WIDTH, check_learns, construct, outputs_shape

from hybrid_jax.contracts import BlockFeatures
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.dpt_fusion import Reassemble
from hybrid_jax.models.heads.dpt import tapped_levels


@pytest.mark.parametrize(
    ("strides", "taps", "levels"),
    [
        ((4, 8), (8, 11), (16, 32)),
        ((), (2, 5, 8, 11), (4, 8, 16, 32)),
        ((4, 8, 16, 32), (), ()),
        ((8,), (1,), (16,)),
    ],
)
def test_taps_make_the_levels_after_the_maps(strides, taps, levels):
    assert tapped_levels(strides, taps, token_stride=16) == levels


@pytest.mark.parametrize(
    ("strides", "taps"),
    [
        ((4, 8, 16, 32), (8, 11)),
        ((4, 16), (8,)),
        ((), (3,)),
        ((2, 4), ()),
    ],
)
def test_impossible_levels_are_refused(strides, taps):
    with pytest.raises(
        UserError, match="two or more levels whose strides double one by one"
    ):
        construct("dpt", strides=strides, taps=taps)


def test_tokens_enlarged_by_learned_squares_are_torchs_transposed_convolution():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = Reassemble(
        6, 4, factor=4.0, readout="ignore", dtype="float32", rngs=nnx.Rngs(params=0)
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    ours = layer(BlockFeatures(jnp.asarray(x), jnp.ones((2, 6))))
    theirs = torch.nn.ConvTranspose2d(4, 4, kernel_size=4, stride=4)
    kernel = np.array(layer.resize.kernel[...]).reshape(4, 4, 4, 4)  # in, i, j, out
    projected = np.array(layer.project(jnp.asarray(x)))
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(kernel.transpose(0, 3, 1, 2).copy()))
        theirs.bias.zero_()
        wanted = theirs(torch.from_numpy(projected).permute(0, 3, 1, 2))
    np.testing.assert_allclose(ours, wanted.permute(0, 2, 3, 1), atol=1e-5)


def test_readout_tells_the_class_token_to_every_token():
    def reassembled(kind, **change):
        layer = Reassemble(
            6, 4, factor=1.0, readout=kind, dtype="float32", rngs=nnx.Rngs(params=0)
        )
        block = BlockFeatures(jnp.ones((1, 2, 3, 6)), jnp.ones((1, 6)))
        return np.asarray(layer(block.replace(**change)))

    other = dict(cls=2.0 * jnp.ones((1, 6)))
    assert np.abs(reassembled("project") - reassembled("project", **other)).min() > 0.0
    np.testing.assert_array_equal(reassembled("ignore"), reassembled("ignore", **other))
    # A ViT without a class token has the mean of its tokens, here the same, in its place.
    np.testing.assert_array_equal(reassembled("project"), reassembled("project", cls=None))


def test_hybrid_learns():
    levels = dict(strides=(4, 8), taps=(0, 1), auxiliary=True)
    check_learns("dpt", hidden_dim=8, **levels, taps_given=2, updates=20)


@pytest.mark.slow  # as the hybrid above
def test_maps_alone_learn_with_cells_in_place():
    check_learns("dpt", hidden_dim=8, align_corners=False, norm="batch", residual_norm=True)


@pytest.mark.parametrize("align_corners", [True, False])
def test_logits_reach_every_pixel(align_corners):
    options = dict(dtype="bfloat16", auxiliary=True, align_corners=align_corners)
    out = outputs_shape("dpt", hidden_dim=8, **options)
    assert out.stride == 1
    assert out.logits.shape == (2, 40, 52, 5)
    assert out.auxiliary_stride == 4
    assert out.auxiliary.shape[1:3] == (10, 14)
    assert out.logits.dtype == out.auxiliary.dtype == np.float32


def test_a_width_for_each_tap_is_asked_for():
    with pytest.raises(UserError, match="one number for each of the 2 taps"):
        construct("dpt", strides=(4, 8), taps=(0, 1), reassemble_channels=(WIDTH,))
