"""Greedy non-maximum suppression with static shapes."""

import jax
import jax.numpy as jnp

from hybrid_jax.ops.boxes import pairwise_iou


def nms(
    boxes_xyxy: jax.Array,
    labels: jax.Array,
    *,
    valid: jax.Array,
    iou_threshold: float,
) -> jax.Array:
    """Returns which boxes greedy non-maximum suppression within each class keeps.

    Greedy suppression keeps a box if and only if no earlier kept box of its class overlaps
    it by more than the threshold. This rule has one solution. Starting with all boxes kept,
    it is applied to all boxes at once until nothing changes: after i iterations the first i
    boxes are final, and the number of iterations is the longest chain of suppressions.

    Args:
        boxes_xyxy: (B, C, 4), sorted by descending score, as by `jax.lax.top_k`.
        labels: (B, C) int32.
        valid: (B, C) bool; rows with False are not kept and suppress nothing.
        iou_threshold: boxes with a larger IoU are suppressed.

    Returns:
        (B, C) bool. The memory is O(B * C * C).
    """
    count = boxes_xyxy.shape[1]
    earlier = jnp.arange(count)[:, None] < jnp.arange(count)
    alike = labels[:, :, None] == labels[:, None, :]
    overlap = pairwise_iou(boxes_xyxy, boxes_xyxy) > iou_threshold
    removes = overlap & alike & earlier

    def again(state):
        keep, _ = state
        new = valid & ~jnp.any(removes & keep[:, :, None], axis=1)
        return new, jnp.any(new != keep)

    start = valid, jnp.asarray(True)
    keep, _ = jax.lax.while_loop(lambda state: state[1], again, start)
    return keep
