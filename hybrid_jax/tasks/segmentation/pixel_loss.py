"""Cross-entropy of pixels, from logits of a coarser stride."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hybrid_jax.contracts import VOID
from hybrid_jax.ops.bilinear import centers, linear_weights, sample
from hybrid_jax.tasks.segmentation.row_strips import map_strips, strip_count


def pixel_cross_entropy(
    logits: jax.Array, labels: jax.Array, *, stride: int, largest_strip: int | None = None
) -> jax.Array:
    """Returns the sum of the cross-entropy over all pixels that are not void.

    Logits of a coarser stride are upsampled bilinearly, in strips of rows to save memory.
    With several strips, each is recomputed in the backward pass.

    Args:
        logits: (B, h, w, K); cell (i, j) covers the pixels from (i * stride, j * stride).
        labels: (B, H, W) uint8 class ids, 255 for void.
        stride: px per cell.
        largest_strip: maximal number of logits per image in a strip, see `strip_count`.

    Returns:
        A float32 scalar; logits of void pixels may be NaN.
    """

    def losses(scores, labels):
        own = jnp.sum(jnp.where(_one_hot(labels, scores), scores, 0.0), -1)
        loss = jax.nn.logsumexp(scores, -1) - own
        return jnp.sum(jnp.where(labels == VOID, 0.0, loss))

    return _summed(losses, logits, labels, stride=stride, largest=largest_strip)


def pixel_hits(
    logits: jax.Array, labels: jax.Array, *, stride: int, largest_strip: int | None = None
) -> jax.Array:
    """Returns the number (int32) of pixels whose largest logit is that of their class."""

    def hits(scores, labels):
        return jnp.sum(jnp.argmax(scores, -1) == labels, dtype=jnp.int32)

    return _summed(hits, logits, labels, stride=stride, largest=largest_strip)


def _summed(measure: Callable, logits: jax.Array, labels: jax.Array, **options: Any):
    """Sums `measure(scores (B, r, W, K), labels (B, r, W))` over strips of r rows."""
    stride, (H, W) = options["stride"], labels.shape[1:]
    logits = logits.astype(jnp.float32)
    count = strip_count(H, per_row=W * logits.shape[-1], largest=options["largest"])
    remat = jax.checkpoint if count > 1 else lambda function: function
    strips = functools.partial(map_strips, count=count, fills=(0.0, VOID))
    if stride == 1 and logits.shape[1:3] == (H, W):
        sums = strips(remat(measure), (logits, labels), axes=(1, 1))
        return jnp.sum(sums, 0)
    rows = linear_weights(centers(H, stride=stride), logits.shape[1])
    columns = linear_weights(centers(W, stride=stride), logits.shape[2])

    def strip(rows, labels, logits):
        return measure(sample(logits, rows, columns), labels)

    upsampled = functools.partial(remat(strip), logits=logits)
    return jnp.sum(strips(upsampled, (rows, labels), axes=(0, 1)), 0)


def _one_hot(labels: jax.Array, scores: jax.Array) -> jax.Array:
    return labels[..., None] == jnp.arange(scores.shape[-1])
