"""The jaxprs that an equation of a jaxpr calls."""

from collections.abc import Iterable
from typing import Any


def bodies(params: Iterable[Any]) -> Iterable[Any]:
    """Yields every jaxpr among these parameters of an equation, unclosed."""
    for param in params:
        for value in param if isinstance(param, tuple | list) else (param,):
            inner = getattr(value, "jaxpr", value)  # of a ClosedJaxpr
            if hasattr(inner, "eqns"):
                yield inner


def called(equation: Any) -> Any | None:
    """Returns the body of an equation that only calls one jaxpr, else None.

    Such are jit, remat, custom_vjp and custom_jvp.
    """
    found = list(bodies(equation.params.values()))
    if len(found) != 1:
        return None
    (body,) = found
    takes = len(body.invars) == len(equation.invars)
    gives = len(body.outvars) == len(equation.outvars)
    return body if takes and gives else None
