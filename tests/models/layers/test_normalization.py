"""GroupNorm against Flax's, BatchNorm against torch's momentum, both under bfloat16."""

import float64_reference as reference
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.models.layers.normalization import BatchNorm, GroupNorm

# One program each, not one for each operation.
evaluated = nnx.jit(lambda norm, x: norm(x, train=False))
trained = nnx.jit(lambda norm, x: norm(x, train=True))


def images_of(hw, *, channels=3, batch=2, seed=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, *hw, channels)).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_group_norm_equals_flax(offset):
    ours = GroupNorm(96, eps=1e-5)
    theirs = nnx.GroupNorm(
        96, num_groups=32, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(params=0)
    )
    rng = np.random.default_rng(0)
    scale, bias = jnp.asarray(rng.standard_normal((2, 96)), jnp.float32)
    for norm in (ours, theirs):
        norm.scale[...], norm.bias[...] = scale, bias
    x = offset + images_of((5, 7), channels=96)
    # E[x^2] - E[x]^2 loses some 1e-6 * offset^2 of a variance of one.
    tolerance = 1e-5 * max(1.0, offset**2)
    np.testing.assert_allclose(evaluated(ours, x), nnx.jit(theirs)(x), atol=tolerance)


def test_group_norm_of_a_constant_map_is_its_bias():
    norm = GroupNorm(64, eps=1e-6)
    norm.bias[...] = jnp.arange(64.0)
    out = evaluated(norm, jnp.full((2, 3, 5, 64), 7.7))
    # Rounding of 7.7^2 over the root of the epsilon.
    np.testing.assert_allclose(out, np.broadcast_to(np.arange(64.0), out.shape), atol=2e-2)


def test_group_norm_statistics_are_float32_under_bfloat16():
    norm = GroupNorm(64, eps=1e-6, dtype="bfloat16")
    x = jnp.asarray(100.0 + images_of((9, 13), channels=64), jnp.bfloat16)
    y = evaluated(norm, x)
    assert y.dtype == jnp.bfloat16
    exact = reference.group_norm(
        np.asarray(x, np.float64), dict(scale=1.0, bias=0.0), eps=1e-6
    )
    # Float32 statistics of the rounded input, output rounded to 8 bits.
    np.testing.assert_allclose(np.asarray(y, np.float64), exact, atol=0.05)


def test_batch_norm_updates_its_statistics_with_torch_momentum_in_training_only():
    norm = BatchNorm(5, scale_init=1.0, dtype="float32", rngs=nnx.Rngs(params=0))
    x = 3.0 + images_of((7, 9), channels=5)
    evaluated(norm, x)
    np.testing.assert_array_equal(norm.mean[...], np.zeros(5))
    trained(norm, x)
    np.testing.assert_allclose(norm.mean[...], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)


def test_batch_norm_normalizes_with_batch_statistics_in_training():
    norm = BatchNorm(5, scale_init=1.0, dtype="float32", rngs=nnx.Rngs(params=0))
    x = 3.0 + images_of((7, 9), channels=5)
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(trained(norm, x), expected, atol=1e-5)


def test_batch_norm_statistics_are_float32_under_bfloat16():
    norm = BatchNorm(5, scale_init=1.0, dtype="bfloat16", rngs=nnx.Rngs(params=0))
    x = jnp.asarray(images_of((7, 9), channels=5), jnp.bfloat16)
    assert trained(norm, x).dtype == jnp.bfloat16
    assert norm.mean[...].dtype == norm.var[...].dtype == jnp.float32
    # Statistics that bfloat16 cannot hold: 1000.5 would become 1000.
    norm.mean[...] = jnp.full(5, 1000.5)
    norm.var[...] = jnp.ones(5)
    y = evaluated(norm, jnp.full((1, 2, 3, 5), 1001.0))
    np.testing.assert_allclose(np.asarray(y, np.float32), 0.5, atol=0.01)
