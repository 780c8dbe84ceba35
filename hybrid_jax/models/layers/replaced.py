"""Variables that are replaced as a whole, in constant time while a program is traced.

Before Flax replaces a value it compares shardings. A tracer has none, and says so in a
message for which JAX reads all of the program so far: building a model, which counts the
random keys it draws, took time quadratic in its size.
"""

from typing import Any

from flax import nnx


class _Replaced(nnx.Variable):
    def __setitem__(self, key: Any, value: Any) -> None:
        if key is Ellipsis:
            self.set_value(value)
        else:
            super().__setitem__(key, value)


class Statistic(_Replaced, nnx.BatchStat):
    """A running statistic."""


class _Count(_Replaced, nnx.RngCount):
    """How many keys a stream has given."""


def with_quick_counts(rngs: nnx.Rngs) -> nnx.Rngs:
    """Returns `rngs` itself; its streams go on with the keys that they would have given."""
    for _, stream in rngs.items():
        if not isinstance(stream.count, _Count):
            stream.count = _Count(stream.count.get_value(), tag=stream.tag)
    return rngs
