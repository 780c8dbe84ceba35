"""Estimates which arrays XLA stores in the forward pass for the backward pass.

A gradient reads many arrays of the forward pass, but not all of them are stored. XLA writes
to memory the results of products, convolutions, window operations and reductions, and the
operands of the first three. It fuses elementwise operations into these, in the forward pass
and again in the backward pass: a norm or a GELU needs no memory but for its input and, if a
product follows, its output. So an array that the gradient reads is stored if it is such a
result or operand. Otherwise the arrays it can be recomputed from are stored, unless these
are several arrays of at least its size.

Not counted: the padding of tiles, and copies in another layout.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence, Set
from typing import Any

from hybrid_jax.programs.flop_count import CONSTANT, Origin
from hybrid_jax.programs.jaxprs import called

# Operations whose results are written to memory and not recomputed.
_WRITTEN = (
    "dot_general",
    "conv_general_dilated",
    "reduce_",  # sum, max, min, window_max, ...
    "arg",  # argmax, argmin
    "cum",  # cumsum, cummax, ...
    "select_and_",  # gradients of windows
    "sort",
    "top_k",
    "gather",
    "scatter",
    "scan",
    "while",
    "cond",
    "random_bits",
    "threefry2x32",
    "pallas_call",
    "dot_product_attention",  # cuDNN's
    "pure_callback",
)
# Those of them whose operands are in memory; reductions fuse theirs.
_READS_MEMORY = (
    "dot_general",
    "conv_general_dilated",
    "reduce_window",
    "cum",
    "sort",
    "top_k",
    "gather",
    "scatter",
    "scan",
    "while",
    "cond",
    "pallas_call",
    "dot_product_attention",
)
# Operations that return the same numbers in another order, or fewer.
_VIEWS = (
    "reshape",
    "squeeze",
    "expand_dims",
    "transpose",
    "slice",
    "split",
    "broadcast_in_dim",
    "rev",
    "copy",
)


@dataclasses.dataclass(eq=False)
class Array:
    """One array of a traced function.

    Attributes:
        bytes: size of the array.
        origin: labels of the inputs that it depends on.
        made_by: name of the operation; "" for an input.
        sources: operands of the operation.
        is_written: whether it is written to memory.
    """

    bytes: int
    origin: Origin
    made_by: str = ""
    sources: list["Array"] = dataclasses.field(default_factory=list)
    is_written: bool = False

    @property
    def stored(self) -> "Array":
        """The array that this one is a view of, or itself."""
        array = self
        while array.made_by in _VIEWS and len(array.sources) == 1:
            array = array.sources[0]
        return array


@dataclasses.dataclass(frozen=True)
class Residuals:
    """The arrays in memory when the backward pass begins.

    Attributes:
        arrays: the stored arrays, without inputs, in the order of the forward pass.
        written: all arrays that the forward pass writes to memory, in order.
    """

    arrays: tuple[Array, ...]
    written: tuple[Array, ...]

    def workspace(self, origin: Origin) -> int:
        """Returns the bytes that the backward pass needs beyond the stored arrays.

        The backward pass goes through the forward pass from the end and frees arrays. At
        each place it needs a written array and its gradient; the result is the maximum.

        Args:
            origin: only arrays with all of these labels are counted.
        """
        stored = {id(array) for array in self.arrays}
        total = sum(a.bytes for a in self.arrays if a.origin >= origin)
        behind, worst = 0, total
        for array in self.written:
            if array.origin >= origin:
                behind += array.bytes if id(array) in stored else 0
                worst = max(worst, behind + 2 * array.bytes)
        return worst - total


def stored_residuals(jaxpr: Any, origins: Sequence[Origin]) -> Residuals:
    """Returns the arrays that are stored so that the outputs can be recomputed.

    Args:
        jaxpr: a (closed) jaxpr; its outputs are the arrays that the backward pass reads.
        origins: labels of each input. Inputs without labels are constants.
    """
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    arrays: list[Array] = []
    inputs = [
        Array(bytes_of(value.aval), origin) if origin else None
        for value, origin in zip(inner.invars, origins, strict=True)
    ]
    outputs = _walk(inner, inputs, arrays)
    _mark_written(arrays)
    found: set[int] = set()
    read = {id(array): array.stored for array in outputs if array is not None}
    for array in (array.stored for array in arrays if id(array) in read):
        needed = _needed(array, found)
        if sum(a.bytes >= array.bytes for a in needed) > 1:
            array.is_written = True  # one array instead of several of its size
            needed = [array]
        found |= {id(a) for a in needed}
    written = tuple(array for array in arrays if array.is_written)
    return Residuals(tuple(array for array in written if id(array) in found), written)


def _walk(
    jaxpr: Any, inputs: Sequence[Array | None], arrays: list[Array]
) -> list[Array | None]:
    """Appends all arrays of a jaxpr to `arrays`; returns outputs, None for constants."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(value) -> Array | None:
        return None if hasattr(value, "val") else known.get(value)  # "val": a literal

    for equation in jaxpr.eqns:
        operands = [read(value) for value in equation.invars]
        name, body = equation.primitive.name, called(equation)
        if body is not None and not name.startswith(_WRITTEN):
            results = _walk(body, operands, arrays)
        elif name == "optimization_barrier":
            results = operands
        else:
            sources = [array for array in operands if array is not None]
            origin = CONSTANT.union(*(array.origin for array in sources))
            results = [
                Array(bytes_of(value.aval), origin, name, sources) if sources else None
                for value in equation.outvars
            ]
            arrays += [array for array in results if array is not None]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(value) for value in jaxpr.outvars]


def _needed(array: Array, found: Set[int]) -> list[Array]:
    """Returns the written arrays, not in `found`, from which `array` can be recomputed."""
    needed, waiting, seen = [], [array], set()
    while waiting:
        one = waiting.pop().stored
        if id(one) in seen or id(one) in found or not one.made_by:
            continue
        seen.add(id(one))
        if one.is_written:
            needed.append(one)
        else:
            waiting += one.sources
    return needed


def _mark_written(arrays: Iterable[Array]) -> None:
    readers: dict[int, list[Array]] = {}
    for array in arrays:
        for source in array.sources:
            readers.setdefault(id(source), []).append(array)
    for array in arrays:
        if array.made_by.startswith(_WRITTEN):
            _narrowed(array, readers).is_written = True
        if array.made_by.startswith(_READS_MEMORY):
            for source in array.sources:
                source.stored.is_written = True


def _narrowed(array: Array, readers: dict[int, list[Array]]) -> Array:
    """Returns the cast of a result to fewer bytes, if that is all that reads it."""
    following = readers.get(id(array), [])
    if len(following) == 1 and following[0].made_by == "convert_element_type":
        return min(array, following[0], key=lambda a: a.bytes)
    return array


def bytes_of(aval: Any) -> int:
    """Returns the size of an array, from its shape and dtype."""
    # Random keys have an extended dtype without itemsize; they are counted as 0 bytes.
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 0)
