"""Brightness, contrast and saturation."""

import jax
import jax.numpy as jnp


def brightness(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Adds 255 * `level` to the V of HSV, H and S as they were; nothing is random."""
    del key
    value = image.max(-1, keepdims=True)
    brighter = jnp.minimum(value + 255.0 * level, 255.0)
    # H and S stay if all channels grow by one factor; black has S = 0.
    factor = brighter / jnp.maximum(value, 1e-6)
    return jnp.clip(jnp.where(value > 0.0, image * factor, brighter), 0.0, 255.0)


def contrast(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Moves values towards the mean of their channel, by 1 - `level` of the way."""
    del key
    mean = image.mean((0, 1), keepdims=True)
    return jnp.clip((image - mean) * level + mean, 0.0, 255.0)


def saturate(image: jax.Array, key: jax.Array, *, level: tuple[float, float]) -> jax.Array:
    """Multiplies the S of HSV and adds to it, H and V as they were; nothing is random.

    Args:
        level: factor and summand.
    """
    del key
    value, lowest = image.max(-1, keepdims=True), image.min(-1, keepdims=True)
    spread = value - lowest
    saturation = spread / jnp.maximum(value, 1e-6)
    saturation = jnp.clip(saturation * level[0] + level[1], 0.0, 1.0)
    # A channel is V (1 - S k), where k depends on the hue alone. Gray has the hue of red.
    hue = (value - image) / jnp.maximum(spread, 1e-6)
    hue = jnp.where(spread > 0.0, hue, jnp.array([0.0, 1.0, 1.0]))
    return jnp.clip(value * (1.0 - saturation * hue), 0.0, 255.0)
