"""Level energy: how strong the features are in every cell of a pyramid's levels."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp


def level_energy(maps: Mapping[int, jax.Array]) -> dict[int, jax.Array]:
    """Returns the root mean square over the channels of every cell.

    Args:
        maps: {stride: (B, h, w, C)}.

    Returns:
        {stride: (B, h, w)} float32, fine to coarse.
    """
    return {
        stride: jnp.sqrt(jnp.square(maps[stride].astype(jnp.float32)).mean(-1))
        for stride in sorted(maps)
    }
