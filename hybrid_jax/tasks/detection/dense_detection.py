"""Loss and scores of dense detection heads."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hybrid_jax.contracts import Mean
from hybrid_jax.ops.boxes import giou, iou
from hybrid_jax.outputs import DenseDetectionOutputs
from hybrid_jax.tasks.detection.dense_assignment import assign_centers
from hybrid_jax.tasks.detection.focal_loss import sigmoid_focal_loss

_ANY_BOX = (0.0, 0.0, 1.0, 1.0)  # a valid box for cells without an object


def dense_loss(
    outputs: DenseDetectionOutputs,
    batch: Mapping[str, jax.Array],
    options: Mapping[str, Any],
) -> Mean:
    """Returns the sum of three losses and the number of positive cells.

    Class: focal loss over all cells. Box: 1 - GIoU over positive cells. Quality:
    cross-entropy with the IoU of the predicted box as target, over positive cells.

    Args:
        batch: with boxes, `mask` and `content_yxyx_px` as in `contracts.Batch`; cells of
            padding are negative.
        options: `config.task.detection`.

    Returns:
        The total, and its weighted parts `class`, `giou` and `quality`.
    """
    index, positive = assign_centers(
        outputs.centers_xy_px,
        outputs.strides_px,
        boxes_xyxy_px=batch["boxes_xyxy_px"],
        box_labels=batch["box_labels"],
        box_mask=batch["box_mask"] & batch["mask"][:, None],
        center_radius=options["center_radius"],
    )
    positive &= _in_content(outputs.centers_xy_px, batch["content_yxyx_px"])
    terms = {
        "class": _class_term(outputs.logits, batch, index, positive, options),
        **_box_terms(outputs, batch, index, positive),
    }
    weights = {
        "class": options["class_weight"],
        "giou": options["giou_weight"],
        "quality": options["quality_weight"],
    }
    parts = {name: weights[name] * value for name, value in terms.items()}
    count = jnp.sum(positive, dtype=jnp.float32)
    return Mean(total=jnp.asarray(sum(parts.values())), count=count, parts=parts)


def dense_candidates(outputs: DenseDetectionOutputs) -> tuple[jax.Array, jax.Array]:
    """Returns boxes (B, N, 4) in px of the model's input and scores (B, N, K).

    A score is the geometric mean of the class probability and the predicted IoU, as in FCOS
    (2020).
    """
    quality = jax.nn.sigmoid(outputs.quality_logits)[..., None]
    scores = jnp.sqrt(jax.nn.sigmoid(outputs.logits) * quality)
    return outputs.boxes_xyxy_px, scores


def _class_term(logits, batch, index, positive, options) -> jax.Array:
    labels = jnp.take_along_axis(batch["box_labels"], index, axis=1)
    target = jax.nn.one_hot(labels, logits.shape[-1]) * positive[..., None]
    # where() before and after the loss: padded rows may be infinite, with NaN gradients.
    real = batch["mask"][:, None, None]
    losses = sigmoid_focal_loss(
        jnp.where(real, logits, 0.0),
        target,
        alpha=options["focal_alpha"],
        gamma=options["focal_gamma"],
    )
    return jnp.sum(jnp.where(real, losses, 0.0))


def _box_terms(outputs, batch, index, positive) -> dict[str, jax.Array]:
    objects = jnp.take_along_axis(batch["boxes_xyxy_px"], index[..., None], axis=1)
    chosen = positive[..., None]
    target = jnp.where(chosen, objects, jnp.asarray(_ANY_BOX))
    boxes = jnp.where(chosen, outputs.boxes_xyxy_px, jnp.asarray(_ANY_BOX))
    quality = optax.sigmoid_binary_cross_entropy(
        jnp.where(positive, outputs.quality_logits, 0.0),
        jax.lax.stop_gradient(iou(boxes, target)),
    )
    return dict(
        giou=jnp.sum(jnp.where(positive, 1.0 - giou(boxes, target), 0.0)),
        quality=jnp.sum(jnp.where(positive, quality, 0.0)),
    )


def _in_content(centers_xy_px: jax.Array, content_yxyx_px: jax.Array) -> jax.Array:
    """Returns (B, N) bool: whether the center of a cell is not in the padding."""
    top, left, bottom, right = (content_yxyx_px[:, i, None] for i in range(4))
    x, y = centers_xy_px[:, 0], centers_xy_px[:, 1]
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)
