"""Processing images in strips of rows, with one strip in memory at a time.

Rows are split and not the batch: the batch axis may be sharded over devices, and a loop
over it would gather it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Maximal number of elements per image in a strip: 16 MiB of float32.
LARGEST_STRIP = 2**22


def strip_count(rows: int, *, per_row: int, largest: int | None = None) -> int:
    """Returns the number of strips for `rows` rows of `per_row` elements each.

    Args:
        largest: maximal number of elements in a strip, which has at least one row;
            `LARGEST_STRIP` if None.
    """
    fitting = max((largest or LARGEST_STRIP) // per_row, 1)
    return -(-rows // fitting)


def map_strips(
    function: Callable[..., Any],
    arrays: Sequence[jax.Array],
    *,
    axes: Sequence[int],
    count: int,
    fills: Sequence[Any],
) -> Any:
    """Applies a function to strips and stacks the results.

    Args:
        function: takes one strip of each array.
        arrays: the arrays to split.
        axes: the axis of rows of each array.
        count: number of strips; the last one is padded to the size of the others.
        fills: padding value of each array.

    Returns:
        The results, each with a leading axis of strips.
    """
    cut = tuple(
        _cut(array, axis, count, fill)
        for array, axis, fill in zip(arrays, axes, fills, strict=True)
    )
    if count == 1:
        only = function(*(strips[0] for strips in cut))
        return jax.tree.map(lambda x: x[None], only)
    return jax.lax.map(lambda strips: function(*strips), cut)


def _cut(array: jax.Array, axis: int, count: int, fill: Any) -> jax.Array:
    """Splits an array into strips along a new first axis."""
    rows = array.shape[axis]
    each = -(-rows // count)
    pads = [(0, each * count - rows if a == axis else 0) for a in range(array.ndim)]
    array = jnp.pad(array, pads, constant_values=fill)
    shape = (*array.shape[:axis], count, each, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(shape), axis, 0)
