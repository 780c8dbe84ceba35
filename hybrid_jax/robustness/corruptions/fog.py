"""Fog: clouds over the image."""

import jax
import jax.numpy as jnp

from hybrid_jax.robustness.corruptions.plasma import plasma


def fog(image: jax.Array, key: jax.Array, *, level: tuple[float, float]) -> jax.Array:
    """Lays clouds over (H, W, 3) and scales back to the brightest value of the image.

    Args:
        level: density, in units of white; decay of the clouds, see `plasma`.
    """
    density, decay = level
    clouds = plasma(key, hw=(image.shape[0], image.shape[1]), decay=decay)[..., None]
    brightest = image.max() / 255.0
    foggy = (image + 255.0 * density * clouds) * (brightest / (brightest + density))
    return jnp.clip(foggy, 0.0, 255.0)
