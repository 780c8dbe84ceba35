"""RepVGG: the folded convolution gives what the trained branches give."""

import jax
import numpy as np
import pytest
from flax import nnx
from folding_guarantee import check_folding_changes_nothing, random_module
from parameters import names_and_leaves

from hybrid_jax.models.layers.conv_norm import NormSpec
from hybrid_jax.models.layers.folding import fold
from hybrid_jax.models.layers.repvgg import CSPRepLayer, RepVGG

BATCH = NormSpec(norm="batch")


@pytest.mark.parametrize("spec", [BATCH, NormSpec()], ids=["batch", "group"])
def test_block_gives_the_same_folded(spec):
    block = random_module(lambda: RepVGG(spec, 32, rngs=nnx.Rngs(params=0)))
    check_folding_changes_nothing(
        block, jax.random.normal(jax.random.key(1), (2, 5, 7, 32))
    )
    # Statistics of each image keep the branches of GroupNorm apart.
    assert (block.conv1 is None) == (spec.norm == "batch")


def test_folded_block_is_one_convolution():
    block = random_module(lambda: RepVGG(BATCH, 6, rngs=nnx.Rngs(params=0)))
    fold(block)
    shapes = {n: leaf.shape for n, leaf in names_and_leaves(nnx.state(block)).items()}
    assert shapes == {"conv3.conv.kernel": (3, 3, 6, 6), "conv3.conv.bias": (6,)}


def test_csp_layer_sums_a_deep_and_a_flat_view():
    layer = random_module(
        lambda: CSPRepLayer(BATCH, 8, 4, blocks=2, rngs=nnx.Rngs(params=0))
    )
    x = jax.random.normal(jax.random.key(1), (2, 5, 7, 8))
    deep, flat = layer.deep(x, train=False), layer.flat(x, train=False)
    for block in layer.blocks:
        deep = block(deep, train=False)
    assert len(layer.blocks) == 2
    np.testing.assert_allclose(layer(x, train=False), deep + flat, atol=1e-6)
