"""RepVGG: the folded convolution gives what the trained branches give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.repvgg import CSPRepLayer, RepVGG, fold
from hybrid_jax.specs import ResNetSpec

BATCH = ResNetSpec(norm="batch")


def filled(build):
    """Returns a module with everything random, running statistics too."""
    graph, state = nnx.split(nnx.eval_shape(build))
    return nnx.merge(graph, random_like(state))


def test_folded_block_equals_its_branches():
    block = filled(lambda: RepVGG(BATCH, 6, rngs=nnx.Rngs(params=0)))
    x = jax.random.normal(jax.random.key(1), (2, 5, 7, 6))
    kernel, bias = fold(block)
    assert kernel.shape == (3, 3, 6, 6)
    one = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = block(x, train=False)
    np.testing.assert_allclose(jax.nn.silu(one + bias), expected, atol=1e-5)


def test_folding_keeps_float32_under_bfloat16():
    spec = ResNetSpec(norm="batch", dtype="bfloat16")
    kernel, bias = jax.eval_shape(lambda: fold(RepVGG(spec, 4, rngs=nnx.Rngs(params=0))))
    assert kernel.dtype == bias.dtype == jnp.float32


def test_group_norm_is_not_folded():
    with pytest.raises(UserError, match=r"norm: expected BatchNorm .*got GroupNorm"):
        jax.eval_shape(lambda: fold(RepVGG(ResNetSpec(), 32, rngs=nnx.Rngs(params=0))))


def test_csp_layer_sums_a_deep_and_a_flat_view():
    layer = filled(lambda: CSPRepLayer(BATCH, 8, 4, blocks=2, rngs=nnx.Rngs(params=0)))
    x = jax.random.normal(jax.random.key(1), (2, 5, 7, 8))
    deep, flat = layer.deep(x, train=False), layer.flat(x, train=False)
    for block in layer.blocks:
        deep = block(deep, train=False)
    assert len(layer.blocks) == 2
    np.testing.assert_allclose(layer(x, train=False), deep + flat, atol=1e-6)
