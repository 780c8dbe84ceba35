"""Which convolutions a TPU computes in strips of its images, and what is kept for them.

A tile has eight rows. Where a chip has fewer images, the compiler cuts each of them along
its width into eight strips, and convolutions see those as images ("space to batch"). What
follows such a convolution is not computed again as it is read, as it is elsewhere. The
compiler keeps

- the result in float32 as well, where a norm reads it so;
- what the next product or window reads;
- the masks that the gradient reads, such as a ReLU's.

Masks and what a window reads still lie in strips, which overlap and whose batch and
channels are padded.
"""

import math
from collections.abc import Iterable
from typing import Any

from hybrid_jax.programs.tiles import ROWS
from hybrid_jax.programs.traced_arrays import Array, needed


def mark_strips(equation: Any, result: Array) -> None:
    """Notes whether the result of an equation of a jaxpr is computed in strips.

    A convolution of single pixels is a product and needs none. Strips overlap by half of
    the window.
    """
    if equation.primitive.name != "conv_general_dilated":
        return
    numbers, strides = (equation.params[k] for k in ("dimension_numbers", "window_strides"))
    images, kernel = (value.aval.shape for value in equation.invars)
    window = [kernel[dimension] for dimension in numbers.rhs_spec[2:]]
    if images[numbers.lhs_spec[0]] >= ROWS or max(window) == 1:
        return
    result.in_strips = True
    strip = -(-result.shape[numbers.out_spec[-1]] // ROWS)
    result.overlap = 1 + -(-(window[-1] // 2) // strides[-1]) / strip


def keep_operands(layer: Array) -> None:
    """Marks what a product or a window reads as written if it is computed from strips."""
    for operand in (source.stored for source in layer.sources):
        strips = _strips_below(operand)
        if strips:
            operand.is_written = True
        if layer.made_by.startswith("reduce_window"):
            _lay_alike(operand, strips)


def keep_masks(read: Iterable[Array]) -> None:
    """Marks the masks among what the gradient reads as written."""
    for array in read:
        strips = _strips_below(array)
        if strips and array.bytes == math.prod(array.shape):
            array.is_written = True
            _lay_alike(array, strips)


def lay_in_strips(arrays: Iterable[Array]) -> None:
    """Adds overlaps and longer copies of what lies in strips to the memory it takes."""
    arrays = list(arrays)
    for array in arrays:
        array.held = round(array.held * array.overlap)
    for array in arrays:
        for source in array.sources:
            if source.in_strips and array.made_by == "convert_element_type":
                source.held += array.held if array.bytes > source.bytes else 0


def _strips_below(array: Array) -> list[Array]:
    """Returns the results in strips from which an array can be recomputed."""
    below = (one for source in array.sources for one in needed(source))
    return [one for one in below if one.in_strips]


def _lay_alike(array: Array, strips: Iterable[Array]) -> None:
    for one in strips:
        if one.shape == array.shape:
            array.overlap = one.overlap
            one.matrices += [(array, tiled) for made, tiled in one.matrices if made is one]
