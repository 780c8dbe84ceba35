"""Grad-CAM: where the features of a map speak for a class (Selvaraju et al., 2017)."""

import jax


def grad_cam_weights(gradient: jax.Array) -> jax.Array:
    """Returns the weight of every channel: the mean of its gradient over all cells.

    Args:
        gradient: (B, ..., C) of the class's score with respect to a map or to tokens.

    Returns:
        (B, C).
    """
    return gradient.mean(tuple(range(1, gradient.ndim - 1)))


def grad_cam(features: jax.Array, gradient: jax.Array) -> jax.Array:
    """Returns the weighted sum of all channels where it is positive, else 0.

    Args:
        features: (B, ..., C), a map or tokens without their prefix.
        gradient: of the class's score with respect to them, of the same shape.

    Returns:
        (B, ...), not scaled.
    """
    weights = grad_cam_weights(gradient)
    between = (1,) * (features.ndim - 2)
    weights = weights.reshape(weights.shape[0], *between, -1)
    return jax.nn.relu((features * weights).sum(-1))
