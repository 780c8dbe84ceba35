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
    """Says which boxes greedy suppression within each class keeps.

    Greedy: box by box, each that is kept removes the later ones of its class that overlap
    it by more than the threshold. What that yields is the one assignment in which a box is
    kept exactly if no earlier kept box removes it. It is reached from "all are kept" by
    repeating that rule for all boxes at once: after i rounds the first i are settled, and
    as many rounds as the longest chain of removals settle all of them.

    Args:
        boxes_xyxy: (B, C, 4), the best first; `jax.lax.top_k` sorts so, and keeps the
            order of equal scores.
        labels: (B, C) int32.
        valid: (B, C) bool; False for rows that neither remove nor are kept.
        iou_threshold: overlap from which on, not included, two boxes mean one object.

    Returns:
        (B, C) bool. Memory grows with B * C * C.
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
