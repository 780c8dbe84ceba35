"""Expected calibration error, from sums that are exact over batches and hosts."""

import jax
import jax.numpy as jnp
import numpy as np

NUM_BINS = 15


def calibration_sums(
    confidence: jax.Array, correct: jax.Array, mask: jax.Array
) -> jax.Array:
    """Returns (3, 15): count, sum of confidences and correct predictions of each bin.

    Args:
        confidence: (B,) probability of the predicted class.
        correct: (B,) bool.
        mask: (B,) bool, False for padded rows.
    """
    # Padded rows may be NaN, and NaN times zero is NaN.
    confidence = jnp.where(mask, confidence, 0.0)
    index = jnp.clip((confidence * NUM_BINS).astype(jnp.int32), 0, NUM_BINS - 1)
    in_bin = jax.nn.one_hot(index, NUM_BINS) * mask[:, None]  # (B, 15)
    values = jnp.stack([jnp.ones_like(confidence), confidence, correct])
    # Highest precision, so that accelerators do not round the confidences.
    return jnp.matmul(values.astype(jnp.float32), in_bin, precision="highest")


def calibration_error(sums: np.ndarray) -> float:
    """Returns the expected calibration error (Guo et al., 2017).

    Args:
        sums: (3, 15) from `calibration_sums`, summed over all batches.
    """
    count, confidence, correct = np.asarray(sums, np.float64)
    return float(np.abs(confidence - correct).sum() / max(count.sum(), 1.0))
