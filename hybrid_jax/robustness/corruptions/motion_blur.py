"""Blur along a line, as of a moving camera."""

import jax
import jax.numpy as jnp
import numpy as np


def motion_blur(image: jax.Array, key: jax.Array, *, level: tuple[int, float]) -> jax.Array:
    """Blurs (H, W, 3) in a random direction within 45 degrees of the horizontal.

    Args:
        level: radius and sigma in px, of `blur_along`.
    """
    angle = jax.random.uniform(key, minval=-45.0, maxval=45.0)
    return jnp.clip(blur_along(image, angle, level=level), 0.0, 255.0)


def blur_along(
    image: jax.Array, angle: jax.Array, *, level: tuple[int, float]
) -> jax.Array:
    """Averages copies of (H, W, C) that are moved along a line, with the edge repeated.

    Args:
        angle: degrees, from the horizontal.
        level: radius: there are 2 * radius + 1 copies, a px apart; sigma: their weights
            are half a Gaussian.
    """
    radius, sigma = level
    height, width = image.shape[:2]
    count = 2 * radius + 1
    weights = np.exp(-0.5 * (np.arange(count) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    direction = jnp.deg2rad(angle)
    steps = jnp.arange(count)
    down = -jnp.ceil(steps * jnp.sin(direction) - 0.5).astype(jnp.int32)
    right = -jnp.ceil(steps * jnp.cos(direction) - 0.5).astype(jnp.int32)
    # Copies that would leave the image count as black, as in the reference.
    seen = (jnp.abs(down) < height) & (jnp.abs(right) < width)

    def add(total, copy):
        down, right, weight = copy
        rows = jnp.clip(jnp.arange(height) - down, 0, height - 1)
        columns = jnp.clip(jnp.arange(width) - right, 0, width - 1)
        return total + weight * image[rows][:, columns], None

    copies = (down, right, jnp.where(seen, weights, 0.0))
    return jax.lax.scan(add, jnp.zeros_like(image), copies)[0]
