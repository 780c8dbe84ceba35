"""Modules as they are constructed, without the compilation of their random draws."""

import functools

import jax
import jax.extend
from flax import nnx
from jax.interpreters import partial_eval
from parameters import random_like

from hybrid_jax.programs.jaxprs import bodies


def fresh_state(build, *filters):
    """Returns the state of `build()`, with other numbers where it draws random ones.

    Zeros, ones and whatever else is the same for every seed are as constructed; what is
    drawn is drawn by numpy instead, as by `random_like`. An initial value that mixes the
    two counts as drawn. To compile the draws of a small model takes seconds.

    Args:
        build: returns a module.
        *filters: for `nnx.state`.
    """

    def state():
        return nnx.state(build(), *filters)

    traced, shape = jax.make_jaxpr(state, return_shape=True)()
    drawn = _drawn(traced.jaxpr)
    fixed = [not (_is_variable(v) and v in drawn) for v in traced.jaxpr.outvars]
    live, used = partial_eval.dce_jaxpr(traced.jaxpr, fixed)
    assert not used, "a construction has no inputs"
    values = iter(jax.jit(functools.partial(jax.core.eval_jaxpr, live, traced.consts))())
    others, tree = jax.tree.flatten(random_like(shape))
    leaves = [next(values) if f else o for f, o in zip(fixed, others, strict=True)]
    return jax.tree.unflatten(tree, leaves)


def _drawn(jaxpr):
    """Returns the variables of a program that depend on a random key."""
    drawn = set()
    for equation in jaxpr.eqns:
        reads = any(_is_variable(v) and v in drawn for v in equation.invars)
        if reads or _makes_a_key(equation):
            drawn.update(equation.outvars)
    return drawn


def _makes_a_key(equation):
    if equation.primitive.name in ("random_seed", "random_wrap"):
        return True
    inner = bodies(equation.params.values())
    return any(_makes_a_key(e) for body in inner for e in body.eqns)


def _is_variable(atom):
    return not isinstance(atom, jax.extend.core.Literal)
