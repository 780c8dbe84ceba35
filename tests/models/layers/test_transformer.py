"""What transformer blocks are of: random drops, the GELU's two forms."""

import dataclasses

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import random_like

from hybrid_jax.models.layers.transformer import Block, Mlp, dropout, gelu
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.specs import ViTSpec

SPEC = ViTSpec(width=24, depth=2, num_heads=3, mlp_dim=40)


def test_drop_keeps_the_expectation():
    x = jnp.ones((20_000, 1))
    dropped = dropout(x, rate=0.3, key=jax.random.key(0))
    # Deviation of the mean: sqrt(0.3 / 0.7 / 20000) = 0.0046; four of them.
    assert abs(float(dropped.mean()) - 1.0) < 0.0185
    assert set(np.unique(dropped)) == {np.float32(0.0), np.float32(1.0 / 0.7)}


def test_drop_per_example_takes_whole_examples():
    x = jnp.ones((64, 3, 5))
    dropped = np.asarray(dropout(x, rate=0.5, key=jax.random.key(0), per_example=True))
    assert (dropped == dropped[:, :1, :1]).all()
    assert 0 < (dropped[:, 0, 0] == 0).sum() < 64


@pytest.mark.parametrize(("rate", "key"), [(0.0, jax.random.key(0)), (0.5, None)])
def test_drop_without_rate_or_key_changes_nothing(rate, key):
    x = jnp.ones((3, 5))
    assert dropout(x, rate=rate, key=key) is x


def test_drop_path_skips_both_branches_of_a_block():
    spec = SPEC
    shapes = nnx.eval_shape(lambda: Block(spec, drop_path=0.5, rngs=nnx.Rngs(params=0)))
    graph, state = nnx.split(shapes)
    block = nnx.merge(graph, random_like(state))
    x = np.random.default_rng(4).standard_normal((64, 11, 24)).astype(np.float32)
    run = nnx.jit(lambda block, x, key: (block(x, key=key), block(x)))
    out, plain = map(np.asarray, run(block, x, jax.random.key(0)))
    untouched = np.abs(out - x).max((1, 2)) == 0.0
    # Both branches gone: a quarter of 64 examples, deviation 3.5; four of them.
    assert 2 <= untouched.sum() <= 30
    assert np.abs(plain - x).max((1, 2)).min() > 0.0


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_gelu_has_the_form_the_spec_says(form):
    spec = dataclasses.replace(SPEC, gelu=form)
    mlp = nnx.eval_shape(lambda: Mlp(spec, rngs=nnx.Rngs(params=0)))
    x = np.linspace(-4, 4, 101)
    # The two forms differ by up to 5e-4; float32 keeps 1e-6.
    ours = jax.jit(mlp.gelu)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(ours, reference.gelu(x, form), atol=2e-6)


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_gelu_of_gpus_keeps_its_input_alone_for_the_gradient(form):
    activation = gelu(dataclasses.replace(SPEC, gelu=form))
    x = jnp.linspace(-4.0, 4.0, 41)
    expected, pull = jax.vjp(activation, x)
    with tracing_for("gpu"):
        got, pull_got = jax.vjp(activation, x)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(pull_got(x)[0], pull(x)[0], rtol=1e-6, atol=1e-6)
    kept = [leaf for leaf in jax.tree.leaves(pull_got) if leaf.size > 1]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], x)
