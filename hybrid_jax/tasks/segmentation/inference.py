"""Sliding-window, flipped and multi-scale inference of segmentation models.

The logits of all passes are averaged. One window as large as the image, no flip and the
scale 1.0 give exactly the single pass. Published scores with several passes are not
comparable with those of a single pass.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.errors import UserError
from hybrid_jax.ops.bilinear import centers, linear_weights, sample
from hybrid_jax.outputs import SegmentationOutputs

Model = Callable[..., SegmentationOutputs]


def check_passes(options: Mapping[str, Any]) -> None:
    """Checks the options of inference in `config.task.segmentation`.

    Raises:
        UserError: windows that leave gaps, no scales, or scales that are not positive.
    """
    where, share = "config.task.segmentation", options["slide_stride"]
    if not 0.0 < share <= 1.0:
        raise UserError(
            f"{where}.slide_stride: expected a fraction of the window in (0, 1], so that "
            f"windows leave no gaps, got {share!r}."
        )
    scales = tuple(options["scales"])
    if not scales or min(scales) <= 0.0:
        raise UserError(
            f"{where}.scales: expected one or more factors above 0, such as (0.75, 1.0, "
            f"1.25), got {scales}."
        )


def segment(
    model: Model,
    image: jax.Array,
    *,
    content_yxyx_px: jax.Array | None,
    options: Mapping[str, Any],
) -> SegmentationOutputs:
    """Applies a model with the inference options of `config.task.segmentation`.

    Args:
        model: called as `model(image, content_yxyx_px=...)`.
        image: (B, H, W, 3) normalized.
        content_yxyx_px: (B, 4), the part of each image that is not padding, or None.
        options: `inference`, `window`, `slide_stride`, `flip` and `scales`.

    Returns:
        The model's outputs if it is applied once to whole images; else mean logits
        (B, H, W, K) float32 at stride 1.
    """
    slides, scales = options["inference"] == "slide", tuple(options["scales"])
    if not (slides or options["flip"] or scales != (1.0,)):
        return model(image, content_yxyx_px=content_yxyx_px)
    H, W = image.shape[1:3]
    if content_yxyx_px is None:
        content_yxyx_px = jnp.broadcast_to(jnp.array([0, 0, H, W]), (len(image), 4))
    total = 0.0
    for scale in scales:
        hw = (max(1, round(H * scale)), max(1, round(W * scale)))
        resized, content = _resized(image, content_yxyx_px, hw=hw)
        logits = _one_size(model, resized, content, options=options)
        total = total + _stretched(logits, (H, W))
    return SegmentationOutputs(logits=jnp.asarray(total / len(scales)), stride=1)


def _one_size(model: Model, image, content, *, options) -> jax.Array:
    """Returns logits (B, H, W, K) at one scale, with windows and flip as in `options`."""

    def pixels(image, content):
        if options["inference"] != "slide":
            return _pixels(model(image, content_yxyx_px=content), image.shape[1:3])
        window, share = options["window"], options["slide_stride"]
        return _slide(model, image, content, window=window, share=share)

    logits = pixels(image, content)
    if not options["flip"]:
        return logits
    W = image.shape[2]
    top, left, bottom, right = (content[:, i] for i in range(4))
    mirrored = jnp.stack([top, W - right, bottom, W - left], axis=1)
    return (logits + pixels(image[:, :, ::-1], mirrored)[:, :, ::-1]) / 2.0


def _slide(model: Model, image, content, *, window: Sequence[int] | None, share: float):
    """Averages logits (B, H, W, K) over windows, in a sequential loop to save memory."""
    B, H, W, _ = image.shape
    h, w = (min(side, most) for side, most in zip(window or (H, W), (H, W), strict=True))
    corners = [
        (top, left)
        for top in window_starts(H, window=h, share=share)
        for left in window_starts(W, window=w, share=share)
    ]
    seen = np.zeros((H, W, 1), np.float32)
    for top, left in corners:
        seen[top : top + h, left : left + w] += 1.0

    def of_window(corner):
        top, left = corner
        part = jax.lax.dynamic_slice(image, (0, top, left, 0), (B, h, w, 3))
        moved = content - jnp.stack([top, left, top, left])
        # In a window that has only padding the rectangle is empty.
        inside = jnp.clip(moved, 0, jnp.array([h, w, h, w]))
        return _pixels(model(part, content_yxyx_px=inside), (h, w))

    def add(total, corner):
        top, left = corner
        start = (0, top, left, 0)
        logits = of_window(corner)
        there = jax.lax.dynamic_slice(total, start, logits.shape)
        return jax.lax.dynamic_update_slice(total, there + logits, start), None

    corners = jnp.asarray(corners)
    classes = jax.eval_shape(of_window, corners[0]).shape[-1]
    zeros = jnp.zeros((B, H, W, classes))
    return jax.lax.scan(add, zeros, corners)[0] / seen


def window_starts(side: int, *, window: int, share: float) -> list[int]:
    """Returns the start of each window along a side; the last window ends at the border.

    Args:
        share: step between windows, as a fraction of the window.
    """
    step = max(1, round(window * share))
    starts = range(0, side - window + step, step)
    return [min(start, side - window) for start in starts]


def _pixels(outputs: SegmentationOutputs, hw: tuple[int, int]) -> jax.Array:
    """Returns the logits of every pixel, (B, *hw, K) float32."""
    logits = outputs.logits.astype(jnp.float32)
    if outputs.stride == 1 and logits.shape[1:3] == tuple(hw):
        return logits
    rows, columns = (
        linear_weights(centers(side, stride=outputs.stride), cells)
        for side, cells in zip(hw, logits.shape[1:3], strict=True)
    )
    return sample(logits, rows, columns)


def _resized(image, content, *, hw: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Returns images (B, *hw, 3), resized with antialiasing, and their content."""
    H, W = image.shape[1:3]
    if hw == (H, W):
        return image, content
    scale = jnp.array([hw[0] / H, hw[1] / W] * 2)
    first, last = jnp.floor(content * scale)[:, :2], jnp.ceil(content * scale)[:, 2:]
    resized = jax.image.resize(image, (len(image), *hw, image.shape[-1]), "linear")
    return resized, jnp.concatenate([first, last], axis=1).astype(jnp.int32)


def _stretched(logits: jax.Array, hw: tuple[int, int]) -> jax.Array:
    """Resizes the logits (B, h, w, K) of a resized image to (B, *hw, K)."""
    if logits.shape[1:3] == hw:
        return logits
    rows, columns = (
        linear_weights(centers(side, stride=side / cells), cells)
        for side, cells in zip(hw, logits.shape[1:3], strict=True)
    )
    return sample(logits, rows, columns)
