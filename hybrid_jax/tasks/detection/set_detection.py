"""Loss and scores of set-prediction heads: each object is matched with one query.

The losses of DETR (Carion et al., 2020) for a softmax, and those of its successors for
sigmoids.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from hybrid_jax.contracts import Mean
from hybrid_jax.ops.boxes import convert_boxes, giou, iou
from hybrid_jax.ops.normalized_boxes import boxes_to_px, normalize_boxes
from hybrid_jax.outputs import BoxSet, SetDetectionOutputs
from hybrid_jax.tasks.detection.matching import match_objects, set_costs

_ANY_BOX = (0.5, 0.5, 1.0, 1.0)  # a valid box for queries without an object


@struct.dataclass
class QueryTargets:
    """The targets of the queries of a set.

    Attributes:
        boxes_cxcywh: (B, Q, 4), normalized box of the matched object.
        labels: (B, Q) int32, class of the matched object.
        positive: (B, Q) bool, whether there is a matched object.
        weight: (B, Q) float32, weight of the losses; 0.0 for padding.
    """

    boxes_cxcywh: jax.Array
    labels: jax.Array
    positive: jax.Array
    weight: jax.Array


def set_loss(
    outputs: SetDetectionOutputs,
    batch: Mapping[str, jax.Array],
    options: Mapping[str, Any],
) -> Mean:
    """Returns the sum of the losses of all sets and the number of objects.

    Each set (of every decoder layer and of the proposals) is matched separately. Matched
    queries have a class loss and a box loss (L1 of normalized boxes and 1 - GIoU), the
    others only a class loss with the target "no object". With sigmoids the class loss is
    the varifocal loss (Zhang et al., 2020, as in RT-DETR), whose target is the IoU of the
    box. With a softmax it is the cross-entropy, times `no_object_weight` for queries
    without an object; DETR divides it by the sum of the weights instead of the number of
    objects.

    The denoising queries of an image have the same total weight as its objects.

    Args:
        batch: with boxes and `mask` as in `contracts.Batch`; padded rows are left out.
        options: `config.task.detection`.

    Returns:
        The total, and its parts: `class`, `l1` and `giou` of the last layer, and the sums
        of the `auxiliary` layers, `proposals` and `denoising`, if there are such.
    """
    objects = _Objects(
        boxes_cxcywh=normalize_boxes(batch["boxes_xyxy_px"], image_hw=outputs.image_hw),
        labels=batch["box_labels"],
        mask=batch["box_mask"] & batch["mask"][:, None],
    )
    sets = [*outputs.layers] + [s for s in [outputs.proposals] if s is not None]
    terms = [
        _terms(boxes, targets, outputs.has_no_object, options)
        for boxes, targets in zip(
            sets, _matched(sets, objects, batch, outputs, options), strict=True
        )
    ]
    last = len(outputs.layers) - 1
    parts = dict(terms[last])
    if last:
        parts["auxiliary"] = sum(sum(t.values()) for t in terms[:last])
    if outputs.proposals is not None:
        parts["proposals"] = sum(terms[-1].values())
    if outputs.denoising is not None:
        parts["denoising"] = _denoising_term(outputs, objects, options)
    count = jnp.sum(objects.mask, dtype=jnp.float32)
    return Mean(total=jnp.asarray(sum(parts.values())), count=count, parts=parts)


def set_candidates(outputs: SetDetectionOutputs) -> tuple[jax.Array, jax.Array]:
    """Returns boxes (B, Q, 4) in px of the image and scores (B, Q, K) of the last layer."""
    boxes = outputs.layers[-1]
    if outputs.has_no_object:
        scores = jax.nn.softmax(boxes.logits)[..., :-1]
    else:
        scores = jax.nn.sigmoid(boxes.logits)
    return boxes_to_px(boxes.boxes_cxcywh, image_hw=outputs.image_hw), scores


@struct.dataclass
class _Objects:
    boxes_cxcywh: jax.Array  # (B, M, 4)
    labels: jax.Array  # (B, M)
    mask: jax.Array  # (B, M)


def _matched(sets, objects, batch, outputs, options) -> list[QueryTargets]:
    """Returns the targets of each set; all sets are matched in one call."""
    weights = ("class_weight", "l1_weight", "giou_weight", "focal_alpha", "focal_gamma")
    stacked = BoxSet(*[jnp.stack(x) for x in zip(*map(_pair, sets), strict=True)])
    costs = set_costs(
        stacked.logits,
        stacked.boxes_cxcywh,
        labels=jnp.broadcast_to(objects.labels, (len(sets), *objects.labels.shape)),
        objects_cxcywh=objects.boxes_cxcywh,
        has_no_object=outputs.has_no_object,
        **{name: options[name] for name in weights},
    )
    query, matched = match_objects(costs, objects.mask)
    Q = costs.shape[-2]
    mask = jnp.broadcast_to(batch["mask"][:, None], (costs.shape[1], Q))
    return [
        _targets(query[i], matched[i], objects, weight=mask.astype(jnp.float32))
        for i in range(len(sets))
    ]


def _pair(boxes: BoxSet) -> tuple[jax.Array, jax.Array]:
    return boxes.logits, boxes.boxes_cxcywh


def _targets(query, matched, objects: _Objects, *, weight) -> QueryTargets:
    """Returns the targets of each query from the query of each object (B, M)."""
    Q = weight.shape[1]
    numbers = jnp.arange(query.shape[1], dtype=jnp.int32)
    # Objects without a query have the index Q, which is out of bounds and dropped.
    query = jnp.where(matched, query, Q)

    def of_example(query):
        index = jnp.zeros(Q, jnp.int32).at[query].set(numbers, mode="drop")
        return index, jnp.zeros(Q, bool).at[query].set(True, mode="drop")

    index, positive = jax.vmap(of_example)(query)
    return _of_index(index, positive, objects, weight=weight)


def _of_index(index, positive, objects: _Objects, *, weight) -> QueryTargets:
    boxes = jnp.take_along_axis(objects.boxes_cxcywh, index[..., None], axis=1)
    labels = jnp.take_along_axis(objects.labels, index, axis=1)
    return QueryTargets(boxes, labels, positive, weight)


def _denoising_term(outputs, objects: _Objects, options) -> jax.Array:
    noised = outputs.denoising
    number = objects.mask.sum(1, keepdims=True)
    mask = noised.mask & (number > 0)
    positive = noised.is_positive & mask
    ratio = number / jnp.maximum(positive.sum(1, keepdims=True), 1)
    weight = jnp.where(mask, ratio, 0.0)
    targets = _of_index(noised.target, positive, objects, weight=weight)
    terms = [_terms(s, targets, outputs.has_no_object, options) for s in noised.layers]
    return jnp.asarray(sum(sum(t.values()) for t in terms))


def _terms(boxes: BoxSet, targets: QueryTargets, has_no_object: bool, options) -> dict:
    """Returns the weighted sums `class`, `l1` and `giou` of one set."""
    valid = targets.weight > 0
    positive = targets.positive & valid
    # where() before and after the losses: others may be infinite, with NaN gradients.
    chosen, any_box = positive[..., None], jnp.asarray(_ANY_BOX)
    predicted = jnp.where(chosen, boxes.boxes_cxcywh, any_box)
    target = jnp.where(chosen, targets.boxes_cxcywh, any_box)
    distance = jnp.abs(predicted - target).sum(-1)
    predicted, target = (convert_boxes(b, "cxcywh", "xyxy") for b in (predicted, target))
    logits = jnp.where(valid[..., None], boxes.logits, 0.0)
    labels = jnp.where(positive, targets.labels, logits.shape[-1] - 1)
    if has_no_object:
        losses = optax.softmax_cross_entropy(
            logits, jax.nn.one_hot(labels, logits.shape[-1])
        )
        losses = losses * jnp.where(positive, 1.0, options["no_object_weight"])
    else:
        own = jax.nn.one_hot(labels, logits.shape[-1]) * positive[..., None]
        quality = jax.lax.stop_gradient(iou(predicted, target))[..., None]
        losses = _varifocal(logits, own, quality=quality, options=options).sum(-1)

    def total(losses: jax.Array, where: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(where, losses, 0.0) * targets.weight)

    return {
        "class": options["class_weight"] * total(losses, valid),
        "l1": options["l1_weight"] * total(distance, positive),
        "giou": options["giou_weight"] * total(1.0 - giou(predicted, target), positive),
    }


def _varifocal(logits, own, *, quality, options) -> jax.Array:
    """Returns the varifocal loss (..., K), whose target for the own class is the quality.

    Args:
        own: (B, Q, K), 1.0 for the class of the matched object.
        quality: (B, Q, 1), IoU of the predicted box and the object.
    """
    modulation = jnp.exp(options["focal_gamma"] * jax.nn.log_sigmoid(logits))
    weight = jnp.where(own > 0, quality, (1.0 - options["focal_alpha"]) * modulation)
    # The weight has no gradient, as in RT-DETR.
    weight = jax.lax.stop_gradient(weight)
    return weight * optax.sigmoid_binary_cross_entropy(logits, own * quality)
