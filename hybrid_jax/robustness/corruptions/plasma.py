"""Clouds: a fractal by the diamond-square algorithm."""

import jax
import jax.numpy as jnp


def plasma(key: jax.Array, *, hw: tuple[int, int], decay: float) -> jax.Array:
    """Returns clouds (H, W) from 0 to 1 over the square of the next power of two.

    Args:
        hw: size in px.
        decay: by which the noise shrinks from each scale to the finer one, 1 or more.
    """
    doublings = max(1, (max(*hw, 3) - 1).bit_length())
    grid = jnp.zeros((1, 1))
    # One draw for all scales: each would be a program of its own to compile.
    draws = jax.random.uniform(key, (4**doublings - 1,), minval=-1.0)
    noise, used = 100.0, 0
    for _ in range(doublings):
        count = 3 * grid.size
        centers, right, below = draws[used : used + count].reshape(3, *grid.shape)
        used += count
        # The reference multiplies the noise by itself.
        below_two = grid + jnp.roll(grid, -1, 0)
        centers = (below_two + jnp.roll(below_two, -1, 1)) / 4 + noise**2 * centers
        above = centers + jnp.roll(centers, 1, 0) + grid + jnp.roll(grid, -1, 1)
        beside = centers + jnp.roll(centers, 1, 1) + below_two
        right, below = above / 4 + noise**2 * right, beside / 4 + noise**2 * below
        tops = jnp.stack([grid, right], -1).reshape(grid.shape[0], -1)
        bottoms = jnp.stack([below, centers], -1).reshape(grid.shape[0], -1)
        grid = jnp.stack([tops, bottoms], 1).reshape(-1, tops.shape[1])
        noise /= decay
    grid = grid - grid.min()
    return (grid / grid.max())[: hw[0], : hw[1]]
