"""How much memory a TPU takes for an array: it lies in tiles, and the last ones are padded.

A tile has 8 rows of 128 numbers. Of the dimensions of an array, one lies along the 128 and
another along the 8; both are rounded up. An array of few rows has tiles of 4, 2 or 1. XLA
chooses which two dimensions these are. (https://openxla.org/xla/tiled_layout)
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hybrid_jax.programs.traced_arrays import Array, needed

ROWS, _LANES = 8, 128


def tiled_bytes(
    shape: Sequence[int], itemsize: int, *, among: Sequence[int] | None = None
) -> int:
    """Returns the bytes of an array in the layout that pads least.

    Args:
        shape: of the array.
        itemsize: bytes of a number.
        among: dimensions that may be the two of the tiles; all if None. Those of a product
            that are neither of its matrices are not.
    """
    total = math.prod(shape)
    if not shape or not total:
        return total * itemsize
    dimensions = range(len(shape)) if among is None else among
    if len(dimensions) == 1:
        return total // shape[dimensions[0]] * _tile(1, shape[dimensions[0]]) * itemsize
    return min(
        total // (shape[row] * shape[lane]) * _tile(shape[row], shape[lane]) * itemsize
        for row, lane in itertools.permutations(dimensions, 2)
    )


def _tile(rows: int, lanes: int) -> int:
    """Returns the numbers that a matrix of this size takes the room of."""
    in_tile = min(ROWS, 1 << (rows - 1).bit_length())
    return -(-rows // in_tile) * in_tile * -(-lanes // _LANES) * _LANES


def matrices(
    equation: Any, operands: Sequence[Array | None], result: Array
) -> list[tuple[Array, list[int]]]:
    """Returns the arrays of a product whose tiled dimensions are some of their own.

    Of a batched product these are the dimensions of its matrices, of a convolution batch
    and channels. Layers read any dimensions.

    Args:
        equation: of a jaxpr.
        operands: of it; None for constants.
        result: the first one.
    """
    name = equation.primitive.name
    if name == "dot_general":
        return _of_batched_product(equation, operands, result)
    if name == "conv_general_dilated":
        return _of_convolution(equation, operands, result)
    return []


def lay_in_tiles(arrays: Iterable[Array]) -> None:
    """Counts the padding of all arrays; the two tiled dimensions of a matrix are its own.

    What an operand is computed from lies as the operand does.
    """
    arrays = list(arrays)
    for array in arrays:
        array.held = _tiled(array)
    for array, dimensions in (pair for product in arrays for pair in product.matrices):
        if not array.bytes:
            continue
        padding = _tiled(array, among=dimensions) / array.bytes
        for base in [array, *needed(array)]:
            if math.prod(base.shape) >= math.prod(array.shape):
                base.held = max(base.held, round(base.bytes * padding))


def _tiled(array: Array, *, among: Sequence[int] | None = None) -> int:
    itemsize = array.bytes // max(math.prod(array.shape), 1)
    return tiled_bytes(array.shape, itemsize, among=among)


def _of_batched_product(
    product: Any, operands: Sequence[Array | None], result: Array
) -> list[tuple[Array, list[int]]]:
    _, batch = product.params["dimension_numbers"]
    # One whose result has no matrices is a sum of elementwise products.
    if not batch[0] or len(batch[0]) == len(result.shape):
        return []
    found = [
        (array, [n for n in range(len(array.shape)) if n not in dimensions])
        for array, dimensions in zip(operands, batch, strict=True)
        if array is not None and len(dimensions) < len(array.shape)
    ]
    return [*found, (result, list(range(len(batch[0]), len(result.shape))))]


def _of_convolution(
    convolution: Any, operands: Sequence[Array | None], result: Array
) -> list[tuple[Array, list[int]]]:
    numbers = convolution.params["dimension_numbers"]
    found = ((operands[0], numbers.lhs_spec), (result, numbers.out_spec))
    return [(array, list(spec[:2])) for array, spec in found if array is not None]
