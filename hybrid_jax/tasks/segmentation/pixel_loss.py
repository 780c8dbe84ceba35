"""Cross-entropy of every pixel, from logits that are coarser than the pixels."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hybrid_jax.contracts import VOID
from hybrid_jax.ops.bilinear import axis_weights, centers, sample
from hybrid_jax.tasks.segmentation.row_strips import map_strips, strip_count


def pixel_cross_entropy(
    logits: jax.Array, labels: jax.Array, *, stride: int, largest_strip: int | None = None
) -> jax.Array:
    """Returns the cross-entropy summed over all pixels that are not void.

    The logits are enlarged bilinearly, unless there is one for each pixel, strip by strip,
    and a strip is computed again in the backward pass where there are several: at full
    size they may be gigabytes.

    Args:
        logits: (B, h, w, K); cell (i, j) covers the pixels from (i * stride, j * stride).
        labels: (B, H, W) uint8 class ids, 255 for void.
        stride: px per cell.
        largest_strip: numbers per image in a strip, see `strip_count`.

    Returns:
        A float32 scalar; NaN logits of pixels that are void do not reach it.
    """

    def losses(scores, labels):
        own = jnp.sum(jnp.where(_one_hot(labels, scores), scores, 0.0), -1)
        loss = jax.nn.logsumexp(scores, -1) - own
        return jnp.sum(jnp.where(labels == VOID, 0.0, loss))

    return _summed(losses, logits, labels, stride=stride, largest=largest_strip)


def pixel_hits(
    logits: jax.Array, labels: jax.Array, *, stride: int, largest_strip: int | None = None
) -> jax.Array:
    """Returns the int32 number of pixels whose largest logit is their own class's."""

    def hits(scores, labels):
        return jnp.sum(jnp.argmax(scores, -1) == labels, dtype=jnp.int32)

    return _summed(hits, logits, labels, stride=stride, largest=largest_strip)


def _summed(measure: Callable, logits: jax.Array, labels: jax.Array, **options: Any):
    """Sums a measure of (scores (B, r, W, K), labels (B, r, W)) over strips of r rows."""
    stride, (H, W) = options["stride"], labels.shape[1:]
    logits = logits.astype(jnp.float32)
    count = strip_count(H, per_row=W * logits.shape[-1], largest=options["largest"])
    again = jax.checkpoint if count > 1 else lambda function: function
    how = dict(count=count, fills=(0.0, VOID))
    if stride == 1 and logits.shape[1:3] == (H, W):
        sums = map_strips(again(measure), (logits, labels), axes=(1, 1), **how)
        return jnp.sum(sums, 0)
    rows = axis_weights(centers(H, stride=stride), logits.shape[1])
    columns = axis_weights(centers(W, stride=stride), logits.shape[2])

    def strip(rows, labels, logits):
        return measure(sample(logits, rows, columns), labels)

    enlarged = functools.partial(again(strip), logits=logits)
    return jnp.sum(map_strips(enlarged, (rows, labels), axes=(0, 1), **how), 0)


def _one_hot(labels: jax.Array, scores: jax.Array) -> jax.Array:
    return labels[..., None] == jnp.arange(scores.shape[-1])
