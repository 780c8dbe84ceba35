"""Which arrays a compiler keeps in memory from the forward pass for the backward pass.

A gradient reads many arrays of the forward pass, but not all of them are kept. XLA writes
to memory what products, convolutions, windows and sums return, and what the first three
are given. Everything elementwise between them becomes part of these operations, forward
and, a second time, backward: a norm or a GELU costs no memory beyond what goes in and, if
a product follows, what comes out. So an array that the gradient reads is kept if it is
such a result or such an operand, and else whatever it can be computed from again is, if
that is not several arrays as long as it.

Not counted: the padding of tiles, and copies in another layout.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence, Set
from typing import Any

from hybrid_jax.programs.jaxprs import called
from hybrid_jax.programs.products import CONSTANT, Origin

# What is written to memory and not computed twice.
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
# Of these, which read operands that are in memory; sums compute theirs while they go.
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
# The same numbers in another order, or fewer: no array of their own.
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
        bytes: of it.
        origin: labels of the inputs that it was computed from.
        made_by: name of the operation; "" for an input.
        sources: arrays that the operation read.
        is_written: whether it is in memory once it is computed.
    """

    bytes: int
    origin: Origin
    made_by: str = ""
    sources: list["Array"] = dataclasses.field(default_factory=list)
    is_written: bool = False

    @property
    def stored(self) -> "Array":
        """The array whose memory this one is a view of; often itself."""
        array = self
        while array.made_by in _VIEWS and len(array.sources) == 1:
            array = array.sources[0]
        return array


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is in memory when the backward pass begins.

    Attributes:
        arrays: each of them once, in the order of the forward pass, without inputs.
        written: all arrays that were ever in memory, in that order.
    """

    arrays: tuple[Array, ...]
    written: tuple[Array, ...]

    def workspace(self, origin: Origin) -> int:
        """Returns the bytes that the backward pass needs beyond what is kept.

        It goes through the forward pass from the end and lets go of what it has passed.
        Where it is, it has a written array and the gradient of it. The worst place counts.

        Args:
            origin: arrays with all of these labels are looked at.
        """
        kept = {id(array) for array in self.arrays}
        total = sum(a.bytes for a in self.arrays if a.origin >= origin)
        behind, worst = 0, total
        for array in self.written:
            if array.origin >= origin:
                behind += array.bytes if id(array) in kept else 0
                worst = max(worst, behind + 2 * array.bytes)
        return worst - total


def kept(jaxpr: Any, origins: Sequence[Origin]) -> Kept:
    """Finds the arrays that must be in memory so that the outputs can be had from them.

    Args:
        jaxpr: closed or bare; its outputs are what the backward pass reads.
        origins: a label set for each input. Inputs with an empty one count as constants.
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
            array.is_written = True  # one in place of several as long
            needed = [array]
        found |= {id(a) for a in needed}
    written = tuple(array for array in arrays if array.is_written)
    return Kept(tuple(array for array in written if id(array) in found), written)


def _walk(
    jaxpr: Any, inputs: Sequence[Array | None], arrays: list[Array]
) -> list[Array | None]:
    """Adds every array of a jaxpr and of its calls; None stands for constants."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(value) -> Array | None:
        return None if hasattr(value, "val") else known.get(value)  # literals have no name

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
    """Returns written arrays, not found before, from which one can be computed again."""
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
    """Returns the shorter floats that alone are wanted of a result, if that is so."""
    following = readers.get(id(array), [])
    if len(following) == 1 and following[0].made_by == "convert_element_type":
        return min(array, following[0], key=lambda a: a.bytes)
    return array


def bytes_of(aval: Any) -> int:
    """Returns the size of an array, from its shape and dtype."""
    # Random keys have a dtype of their own; their size is of no account.
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 0)
