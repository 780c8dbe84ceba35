"""Cells, boxes and answers of a small dense detector, made by hand or by chance."""

import jax.numpy as jnp
import numpy as np

from hybrid_jax.config import defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.outputs import DenseDetectionOutputs
from hybrid_jax.tasks.detection.task import Detection

K = 3
INFO = DatasetInfo(box_names=("cat", "dog", "owl"))
HW = (48, 80)


def task_of(flip=0.0, **options) -> Detection:
    """Returns the task with these of `config.task.detection` changed."""
    branch = defaults().task
    branch.flip = flip
    branch.detection.update(options)
    return Detection(branch, INFO)


def cells(strides=(8, 16), hw=HW) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middles (N, 2) of all cells and their strides (N,)."""
    parts = []
    for s in strides:
        rows, columns = np.indices((-(-hw[0] // s), -(-hw[1] // s))).reshape(2, -1)
        parts.append(np.stack([(columns + 0.5) * s, (rows + 0.5) * s, 0 * rows + s], 1))
    table = np.concatenate(parts).astype(np.float32)
    return table[:, :2], table[:, 2]


def random_batch(images=3, room=5, *, seed=0, hw=HW) -> dict[str, np.ndarray]:
    """Returns a batch whose images lie in their frame unmoved; boxes of all sizes."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(8), np.log(40), (images, room, 2)))
    low = rng.uniform(0, 1, (images, room, 2)) * (np.asarray(hw[::-1]) - sides)
    whole = np.asarray([0, 0, *hw], np.int32)
    return dict(
        image=rng.standard_normal((images, *hw, 3)).astype(np.float32),
        mask=np.ones(images, bool),
        boxes_xyxy_px=np.concatenate([low, low + sides], -1).astype(np.float32),
        box_labels=rng.integers(0, K, (images, room)).astype(np.int32),
        box_mask=np.arange(room) < rng.integers(2, room + 1, images)[:, None],
        original_hw=np.tile(np.asarray(hw, np.int32), (images, 1)),
        scale_yx=np.ones((images, 2), np.float32),
        offset_yx=np.zeros((images, 2), np.float32),
        content_yxyx_px=np.tile(whole, (images, 1)),
    )


def random_outputs(images=3, *, seed=1, strides=(8, 16), hw=HW) -> DenseDetectionOutputs:
    """Returns answers of all cells, each box around its cell."""
    rng = np.random.default_rng(seed)
    centers, stride = cells(strides, hw)
    away = stride[:, None] * rng.uniform(0.2, 2.5, (images, len(stride), 4))
    boxes = np.concatenate([centers - away[..., :2], centers + away[..., 2:]], -1)
    return DenseDetectionOutputs(
        logits=jnp.asarray(2 * rng.standard_normal((images, len(stride), K)), "f4"),
        quality_logits=jnp.asarray(rng.standard_normal((images, len(stride))), "f4"),
        boxes_xyxy_px=jnp.asarray(boxes, "f4"),
        centers_xy_px=jnp.asarray(centers),
        strides_px=jnp.asarray(stride),
    )
