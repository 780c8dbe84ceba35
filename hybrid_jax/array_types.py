"""Names for the arrays that cross borders, with their shapes.

Axes are those of the dimension key in `contracts.py`. An axis of one name has one size in
all arguments and results of a call. `_h` may differ from one array to the next. The shapes
are documentation for readers; nothing checks them at run time but the tests, through an
import hook (`tests/border_checks.py`).
"""

from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Real

if TYPE_CHECKING:
    Array = jax.Array
else:  # as `jax.numpy`, which takes arrays of numpy too
    Array = jax.Array | np.ndarray

AnyArray = TypeVar("AnyArray", jax.Array, np.ndarray)
"""An array of JAX or of numpy; the result is of the same kind."""

Images = Float[Array, "B H W 3"]
"""Normalized images in the compute dtype."""

PixelMask = Bool[Array, "B H W"]
"""False for padding."""

CellMask = Bool[Array, "B h w"]
"""False for cells of padding."""

Map = Float[Array, "B h w C"]
"""A map of any stride."""

Maps = dict[int, Float[Array, "B _h _w _C"]]
"""stride -> map, each with its own grid and channels."""

Vectors = Float[Array, "B D"]
"""One vector per image."""

Tokens = Float[Array, "B N D"]
"""Tokens of a grid in row-major order, after the prefix tokens if there are any."""

Boxes = Real[Array, "*n 4"]
"""Boxes in any format of `ops/boxes.py`."""

Queries = Float[Array, "B N heads d"]
"""Queries of attention, and its result."""

Keys = Float[Array, "B M heads d"]
"""Keys or values of attention."""

AttentionMask = Bool[Array, "#B #heads #N #M"]
"""False hides a key from a query; axes of size one are broadcast."""

AnyQueries = Float[Any, "B N heads d"]
"""As `Queries`, or only their shape and dtype."""

AnyKeys = Float[Any, "B M heads d"]
"""As `Keys`, or only their shape and dtype."""

AttentionBias = Float[Array, "#B #heads #N #M"]
"""Added to the logits of attention; axes of size one are broadcast."""

AnyBias = Float[Any, "#B #heads #N #M"]
"""As `AttentionBias`, or only its shape and dtype."""
