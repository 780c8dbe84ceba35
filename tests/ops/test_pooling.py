"""The shifted maximum equals XLA's own window reduction, value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.ops.pooling import max_pool


def window_reduction(x, *, padding):
    pads = "SAME" if padding == "same" else ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("padding", ["same", "centered"])
@pytest.mark.parametrize("hw", [(8, 12), (7, 9), (8, 5), (3, 3), (1, 2)])
def test_max_pool_equals_window_reduction(hw, padding):
    x = normal(2, *hw, 3)
    both = jax.jit(lambda x: [f(x, padding=padding) for f in (max_pool, window_reduction)])
    got, expected = both(x)
    np.testing.assert_array_equal(got, expected)
    assert got.shape == (2, -(-hw[0] // 2), -(-hw[1] // 2), 3)


@pytest.mark.parametrize("padding", ["same", "centered"])
@pytest.mark.parametrize("hw", [(8, 12), (7, 9), (8, 5), (1, 2)])
@pytest.mark.parametrize("tied", [False, True])
def test_max_pool_gradient_goes_where_window_reductions_goes(hw, padding, tied):
    x = normal(2, *hw, 3)
    x = np.round(x) if tied else x
    weights = normal(2, *(-(-side // 2) for side in hw), 3, seed=1)

    @jax.jit
    def gradients(x, weights):
        def gradient(pool):
            return jax.grad(lambda x: (pool(x, padding=padding) * weights).sum())(x)

        return gradient(max_pool), gradient(window_reduction)

    # The four contributions to a cell are added in another order.
    np.testing.assert_allclose(*gradients(x, weights), atol=1e-5)


def test_max_pool_has_second_derivatives_and_forward_mode():
    x, d = (jax.random.normal(jax.random.key(i), (1, 3, 4, 1)) for i in (0, 1))

    def value(pool):
        return lambda x: jnp.sum(jnp.tanh(pool(x, padding="centered")))

    for derivative in (
        lambda f: jax.jit(lambda x: jax.jvp(f, (x,), (d,))[1])(x),
        lambda f: jax.jit(jax.hessian(f))(x),
    ):
        np.testing.assert_allclose(
            derivative(value(max_pool)), derivative(value(shifted_maximum)), atol=1e-5
        )


def shifted_maximum(x, *, padding):
    """A maximum that JAX itself can differentiate twice; a window reduction it cannot."""
    x = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=-jnp.inf)
    h, w = (x.shape[1] - 2) // 2, (x.shape[2] - 2) // 2
    views = [x[:, i::2, j::2][:, :h, :w] for i in range(3) for j in range(3)]
    return jnp.max(jnp.stack(views), axis=0)


@pytest.mark.parametrize(
    ("platform", "scatters"), [("cpu", False), ("gpu", False), ("tpu", True)]
)
def test_gradient_is_a_scatter_on_tpus_alone(platform, scatters):
    def total(x):
        return max_pool(x, padding="same").sum()

    with tracing_for(platform):
        program = jax.jit(jax.grad(total)).lower(jnp.ones((1, 8, 8, 2))).as_text()
    assert ("select_and_scatter" in program) is scatters
