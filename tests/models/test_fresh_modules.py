"""What is constructed without its draws has what is not drawn as it was constructed."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from fresh_modules import fresh_state
from parameters import names_and_leaves


class _Gated(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(params=0)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.inner = nnx.Linear(3, 5, rngs=rngs)
        self.gate = nnx.Param(jnp.full(5, 1e-4))
        self.steps = nnx.Param(jnp.linspace(0.0, 1.0, 7))
        self.mixed = nnx.Param(jnp.eye(5) + jax.random.normal(rngs.params(), (5, 5)))


def test_draws_alone_are_other_numbers():
    found = names_and_leaves(fresh_state(_Gated, nnx.Param))
    expected = names_and_leaves(nnx.state(_Gated(), nnx.Param))
    assert found.keys() == expected.keys()
    same = {name for name in found if np.array_equal(found[name], expected[name])}
    assert found.keys() - same == {"inner.kernel", "mixed"}
    for name, array in found.items():
        assert array.shape == expected[name].shape
        assert array.dtype == expected[name].dtype
        assert np.abs(array).max() > 0.0 or name in same


def test_statistics_are_there_unless_they_are_left_out():
    assert "norm.mean" in names_and_leaves(fresh_state(_Gated))
    assert "norm.mean" not in names_and_leaves(fresh_state(_Gated, nnx.Param))
