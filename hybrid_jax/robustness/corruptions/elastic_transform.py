"""Elastic deformation."""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from hybrid_jax.robustness.corruptions.linear_maps import gaussian_filter


def elastic_transform(
    image: jax.Array, key: jax.Array, *, level: tuple[float, float, float]
) -> jax.Array:
    """Moves the pixels of (H, W, 3) by a random affine map and a smooth random field.

    Args:
        level: in shares of the height: largest move before smoothing; sigma of the
            smoothing; largest move of the three points that fix the affine map.
    """
    move, sigma, affine = level
    height, width = image.shape[:2]
    key_of_affine, key_of_field = jax.random.split(key)
    grid = jnp.stack(jnp.mgrid[:height, :width]).astype(jnp.float32)
    if affine:
        at = _affine(key_of_affine, hw=(height, width), reach=affine * height)
        places = jnp.concatenate([grid, jnp.ones((1, height, width))])
        image = _sample(image, jnp.einsum("ij,jhw->ihw", at, places), border="mirror")
    if move:
        field = jax.random.uniform(key_of_field, (height, width, 2), minval=-1.0)
        sigma *= height
        field = gaussian_filter(field, sigma=sigma, border="symmetric", truncate=3.0)
        places = grid + move * height * jnp.moveaxis(field, -1, 0)
        image = _sample(image, places, border="reflect")
    return jnp.clip(image, 0.0, 255.0)


def _affine(key: jax.Array, *, hw: tuple[int, int], reach: float) -> jax.Array:
    """Returns (2, 3): where each (row, column, 1) of the result comes from."""
    center, arm = jnp.array([hw[0] // 2, hw[1] // 2]), min(hw) // 3
    corners = jnp.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    before = center + arm * corners
    after = before + jax.random.uniform(key, (3, 2), minval=-reach, maxval=reach)
    return jnp.linalg.solve(jnp.concatenate([after, jnp.ones((3, 1))], 1), before).T


def _sample(image: jax.Array, places: jax.Array, *, border: str) -> jax.Array:
    """Interpolates (H, W, C) at places (2, H, W)."""
    sample = functools.partial(map_coordinates, order=1, mode=border)
    return jax.vmap(lambda channel: sample(channel, list(places)), -1, -1)(image)
