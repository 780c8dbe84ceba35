"""Normalization of uint8 images."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Real

from hybrid_jax.array_types import Array, Images

# Mean and standard deviation of images in [0, 1], by name of the policy.
POLICIES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def normalize_image(
    image_u8: Real[Array, "B H W 3"], *, policy: str, dtype=jnp.float32
) -> Images:
    """Returns images in [0, 255], uint8 as a rule, minus the mean, over the deviation."""
    mean, deviation = (np.asarray(v, np.float32) for v in POLICIES[policy])
    scale, shift = 1.0 / (255.0 * deviation), -mean / deviation
    return (image_u8.astype(jnp.float32) * scale + shift).astype(dtype)
