"""Estimates which arrays XLA stores in the forward pass for the backward pass.

A gradient reads many arrays of the forward pass, but not all of them are stored. XLA writes
to memory the results of products, convolutions, window operations and reductions, and the
operands of the first three. It fuses elementwise operations into these, in the forward pass
and again in the backward pass: a norm or a GELU needs no memory but for its input and, if a
product follows, its output. So an array that the gradient reads is stored if it is such a
result or operand. Otherwise the arrays it can be recomputed from are stored, unless these
are several arrays of at least its size.

On TPUs the operands of products and convolutions are computed as they are read, too, and
need no memory; arrays there lie in tiles (`tiles.py`), and few images in strips
(`strips.py`).

Not counted: copies in another layout.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hybrid_jax.programs.flop_count import CONSTANT, Origin
from hybrid_jax.programs.jaxprs import called
from hybrid_jax.programs.strips import (
    keep_masks,
    keep_operands,
    lay_in_strips,
    mark_strips,
)
from hybrid_jax.programs.tiles import lay_in_tiles, matrices
from hybrid_jax.programs.traced_arrays import Array, joint, large, needed

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
# On TPUs, products and convolutions compute elementwise operands as they read them.
_PRODUCTS = ("dot_general", "conv_general_dilated")
_ON_TPU = tuple(name for name in _READS_MEMORY if name not in _PRODUCTS)


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
        total = sum(a.held for a in self.arrays if a.origin >= origin)
        behind, worst = 0, total
        for array in self.written:
            if array.origin >= origin:
                behind += array.held if id(array) in stored else 0
                worst = max(worst, behind + 2 * array.held)
        return worst - total


def stored_residuals(
    jaxpr: Any, origins: Sequence[Origin], *, on_tpu: bool = False
) -> Residuals:
    """Returns the arrays that are stored so that the outputs can be recomputed.

    Args:
        jaxpr: a (closed) jaxpr; its outputs are the arrays that the backward pass reads.
        origins: labels of each input. Inputs without labels are constants.
        on_tpu: whether operands are fused into products and arrays lie in tiles.
    """
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    arrays: list[Array] = []
    inputs = [
        Array(bytes_of(value.aval), origin, value.aval.shape) if origin else None
        for value, origin in zip(inner.invars, origins, strict=True)
    ]
    outputs = _walk(inner, inputs, arrays)
    _mark_written(arrays, read_memory=_ON_TPU if on_tpu else _READS_MEMORY)
    read = {id(array): array.stored for array in outputs if array is not None}
    if on_tpu:
        keep_masks(read.values())
        lay_in_tiles(arrays)
        lay_in_strips(arrays)
    found: set[int] = set()
    for array in (array.stored for array in arrays if id(array) in read):
        # On TPUs also where these are stored: what is fused into products reads few arrays.
        if len(large(array) - (set() if on_tpu else found)) > 1:
            array = joint(array)
            array.is_written = True  # one array instead of several of its size
        found |= {id(a) for a in needed(array)}
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
                Array(bytes_of(value.aval), origin, value.aval.shape, name, sources)
                if sources
                else None
                for value in equation.outvars
            ]
            first = results[0] if results else None
            if first is not None:
                first.matrices = matrices(equation, operands, first)
                mark_strips(equation, first)
            arrays += [array for array in results if array is not None]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(value) for value in jaxpr.outvars]


def _mark_written(arrays: Iterable[Array], *, read_memory: tuple[str, ...]) -> None:
    readers: dict[int, list[Array]] = {}
    for array in arrays:
        for source in array.sources:
            readers.setdefault(id(source), []).append(array)
    for array in arrays:
        if array.made_by.startswith(_WRITTEN):
            kept = _narrowed(array, readers)
            kept.is_written = True
            array.matrices = [
                (kept if one is array else one, dimensions)
                for one, dimensions in array.matrices
            ]
        if array.made_by.startswith(read_memory):
            for source in array.sources:
                source.stored.is_written = True
        elif array.made_by == "conv_general_dilated":
            for source in array.sources:
                # An image is converted once: there is nothing else to read again.
                source.stored.is_written |= not needed(source)
        if array.made_by.startswith((*_PRODUCTS, "reduce_window")):
            keep_operands(array)


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
