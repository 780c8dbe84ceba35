"""Frost on the lens, drawn by a formula: the photos of the reference are not free."""

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.robustness.corruptions.plasma import plasma

# A bluish white, on average about as bright as the photos.
_COLOR = np.array([215.0, 230.0, 245.0], np.float32)


def frost_procedural(
    image: jax.Array, key: jax.Array, *, level: tuple[float, float]
) -> jax.Array:
    """Blends (H, W, 3) with needles of ice.

    Args:
        level: weights of the image and of the ice, those of the reference.
    """
    of_image, of_ice = level
    fine, coarse = jax.random.split(key)
    hw = (image.shape[0], image.shape[1])
    # Ridges of clouds are the needles.
    ridges = 1.0 - jnp.abs(2.0 * plasma(fine, hw=hw, decay=1.5) - 1.0)
    patches = plasma(coarse, hw=hw, decay=2.0)
    ice = 0.5 + 0.5 * (0.25 + 0.75 * patches) * ridges**2
    return jnp.clip(of_image * image + of_ice * ice[..., None] * _COLOR, 0.0, 255.0)
