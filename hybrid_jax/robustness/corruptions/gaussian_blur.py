"""Gaussian blur."""

import jax

from hybrid_jax.robustness.corruptions.linear_maps import gaussian_filter


def gaussian_blur(image: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Blurs (H, W, 3) with a Gaussian of `level` px; nothing is random."""
    del key
    return gaussian_filter(image, sigma=level, border="nearest")
