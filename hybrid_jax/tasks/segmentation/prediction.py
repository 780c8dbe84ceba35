"""Predicted classes at the original resolution, on a canvas of fixed size."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from hybrid_jax.contracts import VOID
from hybrid_jax.ops.bilinear import linear_weights, sample
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.tasks.segmentation.row_strips import map_strips, strip_count


def original_classes(
    outputs: SegmentationOutputs,
    geometry: Mapping[str, jax.Array],
    *,
    canvas_hw: Sequence[int],
    largest_strip: int | None = None,
) -> jax.Array:
    """Returns the class with the largest logit at every pixel of the original image.

    Logits are interpolated bilinearly from the model's stride to the original image in one
    step.

    Args:
        outputs: logits (B, h, w, K).
        geometry: `original_hw`, `scale_yx` and `offset_yx`, see `contracts.Batch`.
        canvas_hw: rows and columns of the result.
        largest_strip: maximal number of logits per image in memory, see `strip_count`.

    Returns:
        (B, *canvas_hw) uint8: the classes in the top left corner, 255 elsewhere.
    """
    logits = outputs.logits.astype(jnp.float32)
    Hc, Wc = canvas_hw
    weights = []
    for axis, size in enumerate(canvas_hw):
        original_px = jnp.arange(size) + 0.5
        scale, offset = (
            geometry[name][:, axis, None] for name in ("scale_yx", "offset_yx")
        )
        cells = (original_px * scale + offset) / outputs.stride - 0.5  # (B, size)
        weights.append(linear_weights(cells, logits.shape[1 + axis]))
    rows, columns = weights

    def strip(rows):
        return jnp.argmax(sample(logits, rows, columns), -1).astype(jnp.uint8)

    count = strip_count(Hc, per_row=Wc * logits.shape[-1], largest=largest_strip)
    classes = map_strips(strip, (rows,), axes=(1,), count=count, fills=(0.0,))
    # (strips, B, rows of a strip, Wc) to (B, Hc, Wc).
    B = len(logits)
    classes = jnp.moveaxis(classes, 0, 1).reshape(B, -1, Wc)[:, :Hc]
    height, width = (geometry["original_hw"][:, axis, None, None] for axis in (0, 1))
    inside = (jnp.arange(Hc)[:, None] < height) & (jnp.arange(Wc) < width)
    return jnp.where(inside, classes, jnp.uint8(VOID))
