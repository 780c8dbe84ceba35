"""Walking traced functions: the jaxprs that an equation calls."""

from collections.abc import Iterable
from typing import Any


def bodies(params: Iterable[Any]) -> Iterable[Any]:
    """Yields every jaxpr among these parameters of an equation; closed ones bare."""
    for param in params:
        for value in param if isinstance(param, tuple | list) else (param,):
            inner = getattr(value, "jaxpr", value)  # a closed one holds the bare one
            if hasattr(inner, "eqns"):
                yield inner


def called(equation: Any) -> Any | None:
    """Returns the body of an equation that is nothing but a call of it, else None.

    Such are jit, remat, custom_vjp and custom_jvp: inputs and outputs are the body's.
    """
    found = list(bodies(equation.params.values()))
    if len(found) != 1:
        return None
    (body,) = found
    takes = len(body.invars) == len(equation.invars)
    gives = len(body.outvars) == len(equation.outvars)
    return body if takes and gives else None
