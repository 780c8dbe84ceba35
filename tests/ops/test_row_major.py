"""The order in memory is demanded on GPUs alone, of the value and of its gradient."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.ops.row_major import row_major


def constraints(platform):
    x = jnp.ones((2, 3, 4))
    with tracing_for(platform):
        jaxpr = jax.make_jaxpr(jax.grad(lambda x: (row_major(x) ** 2).sum()))(x)
    return str(jaxpr).count("layout_constraint[")


@pytest.mark.parametrize(("platform", "count"), [("gpu", 2), ("cpu", 0), ("tpu", 0)])
def test_value_and_gradient_are_constrained_on_gpus(platform, count):
    assert constraints(platform) == count


def test_values_stay_under_jit():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    with tracing_for("gpu"):
        assert (jax.jit(row_major)(x) == x).all()
