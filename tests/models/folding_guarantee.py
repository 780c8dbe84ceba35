"""Folding leaves what a model gives in eval mode, whatever it is made of."""

import jax
import numpy as np
from flax import nnx
from parameters import random_like

from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.folding import fold


def random_module(build):
    """Returns what `build` returns, filled as by `filled`."""
    return filled(nnx.eval_shape(build))


def filled(shapes):
    """Returns a module of these shapes with everything random.

    Running statistics and affine parts are random, too.
    """
    graph, state = nnx.split(shapes)
    return nnx.merge(graph, random_like(state))


def outputs_of(module, x):
    """Returns the arrays it gives for `x` in eval mode, compiled."""
    graph, state = nnx.split(module)
    return jax.jit(lambda state, x: nnx.merge(graph, state)(x, train=False))(state, x)


def check_folding_changes_nothing(module, x, *, expected=None):
    """Folds a module of random numbers and compares what it gives to float32's rounding.

    Args:
        module: changed by this.
        x: its input.
        expected: what it gives unfolded, where that is known.
    """
    graph, state = nnx.split(nnx.clone(module))
    check_folding_leaves_none_to_standardize(module)
    if nnx.graphdef(module) == graph and _equal(nnx.state(module), state):
        return  # the same program of the same arrays: there was nothing to fold
    if expected is None:
        expected = outputs_of(nnx.merge(graph, state), x)
    found = outputs_of(module, x)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = float(np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)
    again = nnx.state(module)
    fold(module)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(module), again)


def check_folding_leaves_none_to_standardize(module):
    """Folds a module, and looks at its convolutions; their numbers may be shapes."""
    fold(module)
    left = [path for path, m in nnx.iter_modules(module) if _standardizes(m)]
    assert not left, f"still standardize after folding: {left}"


def _equal(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


def _standardizes(module):
    return isinstance(module, Conv) and module.standardized is not None
