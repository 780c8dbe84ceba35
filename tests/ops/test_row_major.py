"""The order in memory is demanded on GPUs alone, of the value and of its gradient."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.ops.row_major import row_major


def constraints(platform, *, of):
    with tracing_for(platform):
        return str(jax.make_jaxpr(of)(jnp.ones((2, 3, 4)))).count("layout_constraint[")


def squares(x):
    return (row_major(x) ** 2).sum()


@pytest.mark.parametrize(("platform", "count"), [("gpu", 2), ("cpu", 0), ("tpu", 0)])
def test_value_and_gradient_are_constrained_on_gpus(platform, count):
    assert constraints(platform, of=jax.grad(squares)) == count


def test_inference_stays_free_and_can_be_exported():
    assert constraints("gpu", of=squares) == 0


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint, jax.vmap])
def test_values_and_gradients_stay(wrap):
    x = jnp.arange(24.0).reshape(2, 3, 4)
    with tracing_for("gpu"):
        assert (wrap(row_major)(x) == x).all()
        assert (jax.grad(lambda x: (wrap(row_major)(x) ** 2).sum())(x) == 2 * x).all()
