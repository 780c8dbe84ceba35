"""The focal loss: cross-entropy that turns away from what is already right."""

import jax
import jax.numpy as jnp


def sigmoid_focal_loss(
    logits: jax.Array, targets: jax.Array, *, alpha: float, gamma: float
) -> jax.Array:
    """Returns -alpha_t (1 - p_t)^gamma log p_t for every logit (Lin et al., 2017).

    The power is taken of logarithms: that of 1 - p_t itself has an infinite slope at
    p_t = 1 for a `gamma` below one.

    Args:
        logits: of any shape and dtype.
        targets: of the same shape, 0 or 1.
        alpha: weight of the ones; the zeros have 1 - alpha.
        gamma: 0.0 is the weighted cross-entropy.

    Returns:
        The losses, float32, in the shape of `logits`.
    """
    signs = 2.0 * targets.astype(jnp.float32) - 1.0
    margin = signs * logits.astype(jnp.float32)
    weight = jnp.where(signs > 0, alpha, 1.0 - alpha)
    ease = jnp.exp(gamma * jax.nn.log_sigmoid(-margin))
    return -weight * ease * jax.nn.log_sigmoid(margin)
