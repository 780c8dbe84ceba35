"""Checks shapes and dtypes at the borders of the library, in tests only.

The import hook of jaxtyping wraps every function of these modules as they are imported.
beartype then compares arguments and results with the annotations; one name of an axis is
one size within a call. Users do not pay for it: without the hook nothing is wrapped.
"""

import dataclasses
import functools
import typing

import jax
import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype
from beartype.door import die_if_unbearable
from jax.export import SymbolicScope, symbolic_shape

MODULES = ("hybrid_jax.ops", "hybrid_jax.models.fusions", "hybrid_jax.models.heads")
# What crosses a border as a tree. It is checked where it crosses: its fields may be
# anything while JAX maps over it.
TREES = ("hybrid_jax.contracts", "hybrid_jax.outputs")

_Symbol = type(symbolic_shape("n", scope=SymbolicScope())[0])
_conf = BeartypeConf(
    is_pep484_tower=True,  # 1 is a float
    hint_overrides=FrozenDict({int: int | _Symbol}),  # a size of an exported program
)


def install() -> None:
    """Installs the hook; modules that are imported already are not checked."""
    jaxtyping.install_import_hook(MODULES, "border_checks.check")


def check(function):
    """Wraps a function in beartype, which also sees the fields of trees.

    Only shapes are compared: the library itself refuses options of another type, in words
    that tests read, and arrays of numpy pass where JAX takes them.
    """
    hints = function.__annotations__
    function.__annotations__ = {name: hints[name] for name in hints if _tells(hints[name])}
    checked = beartype(conf=_conf)(function)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            for value in (*args, *kwargs.values()):
                if type(value).__module__ in TREES:
                    check_fields(value)
            checked(*args, **kwargs)  # a signature without a body
        except Exception:
            # Sizes of exported programs are not numbers, which computed axes need.
            if not _has_symbols((args, kwargs)):
                raise

    return wrapper


def _tells(hint) -> bool:
    """Whether a type says a shape, or is a tree with fields that do."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    if getattr(hint, "__module__", None) in TREES:
        return True
    return any(_tells(part) for part in typing.get_args(hint))


def _has_symbols(values) -> bool:
    leaves = jax.tree.leaves(values)
    return any(type(n) is _Symbol for x in leaves for n in (x, *getattr(x, "shape", ())))


def check_fields(tree) -> None:
    """Compares the fields of a `Features` or of `Outputs` with their annotations."""
    for name, hint in _hints(type(tree)).items():
        value = getattr(tree, name)
        die_if_unbearable(value, hint, conf=_conf)
        for part in value if isinstance(value, tuple) else (value,):
            if type(part).__module__ in TREES and dataclasses.is_dataclass(part):
                with jaxtyping.jaxtyped("context"):
                    check_fields(part)


@functools.cache
def _hints(cls: type) -> dict[str, object]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
