"""The focal loss against its formula in float64, and at the ends of float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hybrid_jax.tasks.detection import focal_loss

# One program, not one for each operation.
sigmoid_focal_loss = jax.jit(
    focal_loss.sigmoid_focal_loss, static_argnames=("alpha", "gamma")
)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [0.25, 0.9])
def test_it_equals_the_formula(alpha, gamma):
    rng = np.random.default_rng(0)
    logits = 3.0 * rng.standard_normal((5, 7)).astype(np.float32)
    targets = rng.integers(0, 2, (5, 7))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    p_t = np.where(targets == 1, p, 1 - p)
    alpha_t = np.where(targets == 1, alpha, 1 - alpha)
    expected = -alpha_t * (1 - p_t) ** gamma * np.log(p_t)
    losses = sigmoid_focal_loss(
        jnp.asarray(logits), jnp.asarray(targets), alpha=alpha, gamma=gamma
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_it_equals_optax():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(3.0 * rng.standard_normal(50), jnp.float32)
    targets = jnp.asarray(rng.integers(0, 2, 50), jnp.float32)
    options = dict(alpha=0.25, gamma=2.0)
    theirs = jax.jit(optax.sigmoid_focal_loss, static_argnames=("alpha", "gamma"))
    expected = theirs(logits, targets, **options)
    losses = sigmoid_focal_loss(logits, targets, **options)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("target", [0, 1])
def test_slope_is_finite_for_any_logit(gamma, target):
    logits = jnp.asarray([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
    targets = np.full(logits.shape, target)

    def total(x):
        return sigmoid_focal_loss(x, targets, alpha=0.25, gamma=gamma).sum()

    value, slope = jax.jit(jax.value_and_grad(total))(logits)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_losses_are_float32_for_bfloat16():
    x = jnp.zeros(3, jnp.bfloat16)
    assert sigmoid_focal_loss(x, x, alpha=0.25, gamma=2.0).dtype == jnp.float32
