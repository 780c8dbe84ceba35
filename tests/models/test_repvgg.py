"""RepVGG: the folded convolution gives what the trained branches give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.repvgg import CSPRepLayer, RepVGG
from hybrid_jax.specs import ResNetSpec

BATCH = ResNetSpec(norm="batch")


def filled(build):
    """Returns a module with everything random, running statistics too."""
    graph, state = nnx.split(nnx.eval_shape(build))
    return nnx.merge(graph, random_like(state))


def test_folded_block_equals_its_branches():
    block = filled(lambda: RepVGG(BATCH, 6, rngs=nnx.Rngs(params=0)))
    x = jax.random.normal(jax.random.key(1), (2, 5, 7, 6))
    folded = block.folded()
    shapes = {n: leaf.shape for n, leaf in names_and_leaves(nnx.state(folded)).items()}
    assert shapes == {"conv.kernel": (3, 3, 6, 6), "conv.bias": (6,)}
    expected = block(x, train=False)
    np.testing.assert_allclose(folded(x, train=False), expected, atol=1e-5)
    assert folded.folded() is folded


def test_folded_block_does_not_train():
    with pytest.raises(UserError, match="expected False, got True: a folded block"):
        filled(lambda: RepVGG(BATCH, 6, rngs=nnx.Rngs(params=0))).folded()(
            jnp.zeros((1, 2, 2, 6)), train=True
        )


def test_folding_keeps_float32_under_bfloat16():
    spec = ResNetSpec(norm="batch", dtype="bfloat16")
    folded = nnx.eval_shape(lambda: RepVGG(spec, 4, rngs=nnx.Rngs(params=0)).folded())
    assert {leaf.dtype.name for leaf in jax.tree.leaves(nnx.state(folded))} == {"float32"}
    x = jax.ShapeDtypeStruct((1, 2, 2, 4), jnp.bfloat16)
    assert nnx.eval_shape(lambda m, x: m(x, train=False), folded, x).dtype == jnp.bfloat16


def test_group_norm_is_not_folded():
    expected = r"expected BatchNorm, got GroupNorm, .*resnet_options\.norm='batch'"
    with pytest.raises(UserError, match=expected):
        nnx.eval_shape(lambda: RepVGG(ResNetSpec(), 32, rngs=nnx.Rngs(params=0)).folded())


def test_csp_layer_sums_a_deep_and_a_flat_view():
    layer = filled(lambda: CSPRepLayer(BATCH, 8, 4, blocks=2, rngs=nnx.Rngs(params=0)))
    x = jax.random.normal(jax.random.key(1), (2, 5, 7, 8))
    deep, flat = layer.deep(x, train=False), layer.flat(x, train=False)
    for block in layer.blocks:
        deep = block(deep, train=False)
    assert len(layer.blocks) == 2
    np.testing.assert_allclose(layer(x, train=False), deep + flat, atol=1e-6)
