"""Which inputs of a traced program a gradient can come back to, without computing one."""

import jax
import jax.extend
from jax._src import ad_util

from hybrid_jax.programs.jaxprs import called


def inputs_reached(jaxpr, wanted=None) -> list[bool]:
    """Returns of each input whether an output depends on it, but by a stopped gradient.

    Every result of a loop counts as if it depended on all that the loop is given.

    Args:
        jaxpr: the program.
        wanted: of each output, whether it is meant; by default all are.
    """
    wanted = wanted or [True] * len(jaxpr.outvars)
    live = _variables(jaxpr.outvars, wanted)
    for equation in reversed(jaxpr.eqns):
        outputs = [v in live for v in equation.outvars]
        if not any(outputs) or equation.primitive is ad_util.stop_gradient_p:
            continue
        body = None if equation.primitive.name == "scan" else called(equation)
        if body is None:
            reads = [True] * len(equation.invars)
        else:
            reads = inputs_reached(body, outputs)
        live |= _variables(equation.invars, reads)
    return [v in live for v in jaxpr.invars]


def _variables(atoms, wanted):
    chosen = (a for a, is_wanted in zip(atoms, wanted, strict=True) if is_wanted)
    return {a for a in chosen if not isinstance(a, jax.extend.core.Literal)}
