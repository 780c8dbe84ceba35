"""Where a traced function gets its random numbers from, read from its jaxpr."""

import dataclasses
from typing import Any

import jax
from jax.interpreters import partial_eval

from hybrid_jax.programs.jaxprs import bodies


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of a key, without the operations that no output depends on.

    Attributes:
        reads_key: whether an output depends on the key.
        draws: names of the operations that make random numbers.
        seeds: what makes or holds a key that is not the one given.
    """

    reads_key: bool
    draws: tuple[str, ...]
    seeds: tuple[str, ...]


def trace(function, *arguments) -> Program:
    """Traces `function(*arguments, key)`; arguments may be shapes."""
    return read(jax.make_jaxpr(function)(*arguments, jax.random.key(0)).jaxpr)


def read(jaxpr: Any) -> Program:
    """Reads a traced program whose last input is the key."""
    everything = [True] * len(jaxpr.outvars)
    live, used = partial_eval.dce_jaxpr(jaxpr, everything)
    names = set(_names(live))
    keys = (f"constant {v.aval}" for v in live.constvars if _is_key(v.aval))
    return Program(
        reads_key=used[-1],
        draws=tuple(
            sorted(n for n in names if n.startswith(("random_", "threefry", "rng_")))
        ),
        seeds=(*sorted(names & {"random_seed", "random_wrap"}), *keys),
    )


def _names(jaxpr: Any):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for body in bodies(equation.params.values()):
            yield from _names(body)


def _is_key(aval) -> bool:
    return jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key)
