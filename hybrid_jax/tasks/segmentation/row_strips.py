"""Working through an image in strips of rows, one strip in memory at a time.

Rows are cut, not images: the axis of the batch may be spread over devices, and a loop over
it would gather it on each.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Numbers of one image that a strip may have: 16 MiB of float32.
LARGEST_STRIP = 2**22


def strip_count(rows: int, *, per_row: int, largest: int | None = None) -> int:
    """Returns into how many strips to cut `rows` of `per_row` numbers each.

    Args:
        largest: numbers in a strip at most, unless one row has more; `LARGEST_STRIP` if
            None.
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
    """Applies a function to strips and stacks what it returns.

    Args:
        function: takes one strip of each array.
        arrays: what is cut.
        axes: the axis of rows in each.
        count: of strips; rows are added to the last one so that all are alike.
        fills: what the added rows of each array hold.

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
    """Moves the strips of one array to a new first axis."""
    rows = array.shape[axis]
    each = -(-rows // count)
    pads = [(0, each * count - rows if a == axis else 0) for a in range(array.ndim)]
    array = jnp.pad(array, pads, constant_values=fill)
    shape = (*array.shape[:axis], count, each, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(shape), axis, 0)
