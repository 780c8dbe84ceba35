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
    rows, columns = _cell_weights(outputs, geometry, hw=canvas_hw)

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


def classes_of_one_size(
    outputs: SegmentationOutputs, geometry: Mapping[str, jax.Array], *, hw: Sequence[int]
) -> jax.Array:
    """Returns (B, *hw) uint8: the classes of original images that are all of size `hw`.

    As `original_classes`, but in one piece: memory holds the logits of all pixels, and `hw`
    may be symbols, in programs that are exported.
    """
    weights = _cell_weights(outputs, geometry, hw=hw)
    logits = sample(outputs.logits.astype(jnp.float32), *weights)
    return jnp.argmax(logits, -1).astype(jnp.uint8)


def _cell_weights(
    outputs: SegmentationOutputs, geometry: Mapping[str, jax.Array], *, hw: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """Returns the weights of the cells at each row (B, H, h) and column (B, W, w)."""
    weights = []
    for axis, size in enumerate(hw):
        original_px = jnp.arange(size) + 0.5
        scale, offset = (
            geometry[name][:, axis, None] for name in ("scale_yx", "offset_yx")
        )
        cells = (original_px * scale + offset) / outputs.stride - 0.5  # (B, size)
        weights.append(linear_weights(cells, outputs.logits.shape[1 + axis]))
    return weights[0], weights[1]
