"""Frosted glass: pixels that change places with their neighbors, between two blurs."""

import jax
import jax.numpy as jnp

from hybrid_jax.robustness.corruptions.linear_maps import gaussian_filter


def glass_blur(
    image: jax.Array, key: jax.Array, *, level: tuple[float, int, int]
) -> jax.Array:
    """Moves the pixels of (H, W, 3) at random.

    The reference swaps pixels one after another, which no device can do quickly. Here each
    pixel takes the value of a random neighbor, all at once and several times.

    Args:
        level: sigma of the blurs in px; the largest move in px; rounds of moves.
    """
    sigma, reach, rounds = level
    height, width = image.shape[:2]
    image = jnp.floor(gaussian_filter(image, sigma=sigma, border="nearest"))
    rows, columns = jnp.mgrid[:height, :width]
    # The reference leaves a border as it is.
    inside = (rows > reach) & (rows <= height - reach)
    inside &= (columns > reach) & (columns <= width - reach)
    for round_key in jax.random.split(key, rounds):
        # As in the reference: from -reach to reach - 1.
        moves = jax.random.randint(round_key, (2, height, width), -reach, reach)
        moves = jnp.where(inside, moves, 0)
        image = image[rows + moves[0], columns + moves[1]]
    return jnp.clip(gaussian_filter(image, sigma=sigma, border="nearest"), 0.0, 255.0)
