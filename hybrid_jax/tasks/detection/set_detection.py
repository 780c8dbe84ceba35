"""Detection by sets: every object is answered for by one query, the others say nothing.

The losses of DETR (Carion et al., 2020), for its softmax and for the sigmoids of its heirs.
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

_ANY_BOX = (0.5, 0.5, 1.0, 1.0)  # stands in where there is no object to compare with


@struct.dataclass
class Answers:
    """What each query of a set should have said.

    Attributes:
        boxes_cxcywh: (B, Q, 4), of its object.
        labels: (B, Q) int32, of its object.
        positive: (B, Q) bool, whether it has one.
        weight: (B, Q) float32, of all it says; 0.0 where nothing is asked.
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

    Each set, that of every decoder layer and that of the proposals, has a matching of its
    own. A query with an object learns its class and its box (L1 of shares and 1 - GIoU),
    the others that there is nothing. A sigmoid's class is asked for as strongly as the box
    fits ("varifocal", Zhang et al., 2020, as in RT-DETR); a softmax's plainly, with
    `no_object_weight` for those that have none. DETR divides the latter by the sum of the
    weights instead of the number of objects.

    The noised queries of an image together weigh as much as its objects.

    Args:
        batch: with boxes and `mask` as in `contracts.Batch`; images that are padding count
            nowhere.
        options: `config.task.detection`.

    Returns:
        Parts that add up to the total: `class`, `l1` and `giou` of the last layer, and the
        sums of `auxiliary` layers, `proposals` and `denoising` where there are such.
    """
    objects = _Objects(
        boxes_cxcywh=normalize_boxes(batch["boxes_xyxy_px"], image_hw=outputs.image_hw),
        labels=batch["box_labels"],
        mask=batch["box_mask"] & batch["mask"][:, None],
    )
    sets = [*outputs.layers] + [s for s in [outputs.proposals] if s is not None]
    terms = [
        _terms(boxes, answers, outputs.has_no_object, options)
        for boxes, answers in zip(
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
    return Mean(total=sum(parts.values()), count=count, parts=parts)


def set_candidates(outputs: SetDetectionOutputs) -> tuple[jax.Array, jax.Array]:
    """Returns the last layer's boxes (B, Q, 4) in px of the image and scores (B, Q, K)."""
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


def _matched(sets, objects, batch, outputs, options) -> list[Answers]:
    """Returns what each set should have said; all sets are matched at once."""
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
    asked = jnp.broadcast_to(batch["mask"][:, None], (costs.shape[1], Q))
    return [
        _answers(query[i], matched[i], objects, weight=asked.astype(jnp.float32))
        for i in range(len(sets))
    ]


def _pair(boxes: BoxSet) -> tuple[jax.Array, jax.Array]:
    return boxes.logits, boxes.boxes_cxcywh


def _answers(query, matched, objects: _Objects, *, weight) -> Answers:
    """Turns the query of each object (B, M) into the object of each query."""
    Q = weight.shape[1]
    numbers = jnp.arange(query.shape[1], dtype=jnp.int32)
    # Objects without a query are written to a place that is not there.
    query = jnp.where(matched, query, Q)

    def of_example(query):
        index = jnp.zeros(Q, jnp.int32).at[query].set(numbers, mode="drop")
        return index, jnp.zeros(Q, bool).at[query].set(True, mode="drop")

    index, positive = jax.vmap(of_example)(query)
    return _of_index(index, positive, objects, weight=weight)


def _of_index(index, positive, objects: _Objects, *, weight) -> Answers:
    boxes = jnp.take_along_axis(objects.boxes_cxcywh, index[..., None], axis=1)
    labels = jnp.take_along_axis(objects.labels, index, axis=1)
    return Answers(boxes, labels, positive, weight)


def _denoising_term(outputs, objects: _Objects, options) -> jax.Array:
    noised = outputs.denoising
    number = objects.mask.sum(1, keepdims=True)
    mask = noised.mask & (number > 0)
    positive = noised.is_positive & mask
    share = number / jnp.maximum(positive.sum(1, keepdims=True), 1)
    weight = jnp.where(mask, share, 0.0)
    answers = _of_index(noised.target, positive, objects, weight=weight)
    terms = [_terms(s, answers, outputs.has_no_object, options) for s in noised.layers]
    return sum(sum(t.values()) for t in terms)


def _terms(boxes: BoxSet, answers: Answers, has_no_object: bool, options) -> dict:
    """Returns the weighted sums `class`, `l1` and `giou` of one set."""
    asked = answers.weight > 0
    positive = answers.positive & asked
    # Selected before and after: what is not asked may be infinite, and its slope NaN.
    chosen, any_box = positive[..., None], jnp.asarray(_ANY_BOX)
    said = jnp.where(chosen, boxes.boxes_cxcywh, any_box)
    wanted = jnp.where(chosen, answers.boxes_cxcywh, any_box)
    distance = jnp.abs(said - wanted).sum(-1)
    said, wanted = (convert_boxes(b, "cxcywh", "xyxy") for b in (said, wanted))
    logits = jnp.where(asked[..., None], boxes.logits, 0.0)
    labels = jnp.where(positive, answers.labels, logits.shape[-1] - 1)
    if has_no_object:
        losses = optax.softmax_cross_entropy(
            logits, jax.nn.one_hot(labels, logits.shape[-1])
        )
        losses = losses * jnp.where(positive, 1.0, options["no_object_weight"])
    else:
        own = jax.nn.one_hot(labels, logits.shape[-1]) * positive[..., None]
        fit = jax.lax.stop_gradient(iou(said, wanted))[..., None]
        losses = _varifocal(logits, own, fit=fit, options=options).sum(-1)

    def total(losses: jax.Array, where: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(where, losses, 0.0) * answers.weight)

    return {
        "class": options["class_weight"] * total(losses, asked),
        "l1": options["l1_weight"] * total(distance, positive),
        "giou": options["giou_weight"] * total(1.0 - giou(said, wanted), positive),
    }


def _varifocal(logits, own, *, fit, options) -> jax.Array:
    """Cross-entropy with the fit as target, weighed by it; focal for all other classes.

    Args:
        own: (B, Q, K), 1.0 for the class of a query's object.
        fit: (B, Q, 1), IoU of its box.
    """
    ease = jnp.exp(options["focal_gamma"] * jax.nn.log_sigmoid(logits))
    weight = jnp.where(own > 0, fit, (1.0 - options["focal_alpha"]) * ease)
    # The weight is no way to lower the loss (as in RT-DETR).
    weight = jax.lax.stop_gradient(weight)
    return weight * optax.sigmoid_binary_cross_entropy(logits, own * fit)
