"""Falling snow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.robustness.corruptions.linear_maps import apply_to_both, zoom_matrix
from hybrid_jax.robustness.corruptions.motion_blur import blur_along

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Snow(NamedTuple):
    """How it snows.

    Attributes:
        mean, deviation: of the noise that becomes flakes, 1 for white.
        zoom: size of flakes, px.
        threshold: of the noise, below which there is no flake.
        radius, sigma: of the blur of falling flakes, px.
        kept: weight of the image; the rest is the image whitened.
    """

    mean: float
    deviation: float
    zoom: float
    threshold: float
    radius: int
    sigma: float
    kept: float


def snow(image: jax.Array, key: jax.Array, *, level: tuple) -> jax.Array:
    """Whitens (H, W, 3) and lets flakes fall on it, once as drawn and once upside down.

    Args:
        level: the fields of `Snow`.
    """
    how = Snow(*level)
    key_of_flakes, key_of_fall = jax.random.split(key)
    height, width = image.shape[:2]
    noise = jax.random.normal(key_of_flakes, (height, width, 1))
    flakes = how.mean + how.deviation * noise
    rows, columns = zoom_matrix(height, how.zoom), zoom_matrix(width, how.zoom)
    flakes = apply_to_both(flakes, rows, columns)
    flakes = jnp.where(flakes < how.threshold, 0.0, jnp.clip(flakes, 0.0, 1.0))
    angle = jax.random.uniform(key_of_fall, minval=-135.0, maxval=-45.0)
    flakes = blur_along(flakes, angle, level=(how.radius, how.sigma))
    flakes = jnp.round(flakes * 255.0)[:height, :width]
    gray = (image @ _GRAY)[..., None]
    white = jnp.maximum(image, gray * 1.5 + 127.5)
    image = how.kept * image + (1.0 - how.kept) * white
    return jnp.clip(image + flakes + flakes[::-1, ::-1], 0.0, 255.0)
