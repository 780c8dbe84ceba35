"""The focal loss (Lin et al., 2017)."""

import jax
import jax.numpy as jnp


def sigmoid_focal_loss(
    logits: jax.Array, targets: jax.Array, *, alpha: float, gamma: float
) -> jax.Array:
    """Returns -alpha_t (1 - p_t)^gamma log p_t for every logit (Lin et al., 2017).

    The power is computed from logarithms: the gradient of (1 - p_t)^gamma itself is
    infinite at p_t = 1 for `gamma` < 1.

    Args:
        logits: any shape and dtype.
        targets: same shape, 0 or 1.
        alpha: weight of positives; negatives have 1 - alpha.
        gamma: focusing parameter; 0.0 for the weighted cross-entropy.

    Returns:
        The losses, float32, in the shape of `logits`.
    """
    signs = 2.0 * targets.astype(jnp.float32) - 1.0
    margin = signs * logits.astype(jnp.float32)
    weight = jnp.where(signs > 0, alpha, 1.0 - alpha)
    ease = jnp.exp(gamma * jax.nn.log_sigmoid(-margin))
    return -weight * ease * jax.nn.log_sigmoid(margin)
