"""Noise of each pixel: Gaussian, shot (Poisson), impulse (salt and pepper) and speckle."""

import jax
import jax.numpy as jnp


def gaussian_noise(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Adds normal noise of standard deviation 255 * `level` to (H, W, 3) in [0, 255]."""
    return jnp.clip(image + 255.0 * level * jax.random.normal(key, image.shape), 0.0, 255.0)


def shot_noise(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Replaces values by counts of photons, of which white has `level` on average."""
    counts = jax.random.poisson(key, image / 255.0 * level)
    return jnp.clip(counts * (255.0 / level), 0.0, 255.0)


def impulse_noise(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Sets a share `level` of the values, each channel on its own, to 0 or to 255."""
    key_of_place, key_of_color = jax.random.split(key)
    hit = jax.random.uniform(key_of_place, image.shape) < level
    white = jax.random.bernoulli(key_of_color, 0.5, image.shape)
    return jnp.where(hit, jnp.where(white, 255.0, 0.0), image)


def speckle_noise(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Multiplies values by 1 + normal noise of standard deviation `level`."""
    noise = level * jax.random.normal(key, image.shape)
    return jnp.clip(image + image * noise, 0.0, 255.0)
