"""Spatter on the lens: water at the lower severities, mud at the higher ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.robustness.corruptions.linear_maps import (
    border_index,
    filter_matrix,
    gaussian_filter,
)

_WATER = np.array([175.0, 238.0, 238.0], np.float32)  # pale turquoise
_MUD = np.array([63.0, 42.0, 20.0], np.float32)
_LIGHT = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)  # from a corner


class Spatter(NamedTuple):
    """What is spattered.

    Attributes:
        mean, deviation: of the noise that becomes drops.
        sigma: of the blur of this noise, px.
        threshold: of the blurred noise, below which there is no drop.
        strength: of water: the largest weight; of mud: sigma of the soft edge, px.
        mud: whether it is mud.
    """

    mean: float
    deviation: float
    sigma: float
    threshold: float
    strength: float
    mud: bool


def spatter(image: jax.Array, key: jax.Array, *, level: tuple) -> jax.Array:
    """Covers (H, W, 3) with drops.

    Mud is that of the reference. Water is a variant: there the drops are lit by a distance
    transform of their edges, here by their own slope.

    Args:
        level: the fields of `Spatter`.
    """
    what = Spatter(*level)
    noise = jax.random.normal(key, (*image.shape[:2], 1))
    liquid = what.mean + what.deviation * noise
    liquid = gaussian_filter(liquid, sigma=what.sigma, border="nearest")
    if what.mud:
        drops = (liquid > what.threshold).astype(jnp.float32)
        weight = gaussian_filter(drops, sigma=what.strength, border="nearest")
        weight = jnp.where(weight < 0.8, 0.0, weight)
        return jnp.clip(image * (1.0 - weight) + weight * _MUD, 0.0, 255.0)
    drops = jnp.where(liquid < what.threshold, 0.0, liquid)
    lit = drops * (0.5 + jnp.clip(_emboss(drops), 0.0, 1.0))
    weight = what.strength * jnp.square(lit / jnp.maximum(lit.max(), 1e-6))
    return jnp.clip(image + weight * _WATER, 0.0, 255.0)


def _emboss(drops: jax.Array) -> jax.Array:
    """Returns the correlation of (H, W, 1) with `_LIGHT`, a little blurred."""
    height, width = drops.shape[:2]
    lit = jnp.zeros_like(drops)
    for (row, column), weight in np.ndenumerate(_LIGHT):
        rows = border_index(np.arange(height) + row - 1, height, border="reflect")
        columns = border_index(np.arange(width) + column - 1, width, border="reflect")
        lit = lit + weight * drops[rows][:, columns]
    blur = [filter_matrix(np.full(3, 1 / 3), n, border="reflect") for n in (height, width)]
    return jnp.einsum("hH,wW,HWC->hwC", *(m.astype(np.float32) for m in blur), lit)
