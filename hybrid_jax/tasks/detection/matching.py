"""Bipartite matching of predicted boxes and objects (Hungarian algorithm).

As in DETR (Carion et al., 2020). All functions take any leading axes, such as decoder
layers and images of a batch.
"""

import jax
import jax.numpy as jnp
import optax

from hybrid_jax.ops.boxes import convert_boxes, pairwise_giou


def set_costs(
    logits: jax.Array,
    boxes_cxcywh: jax.Array,
    *,
    labels: jax.Array,
    objects_cxcywh: jax.Array,
    has_no_object: bool,
    class_weight: float,
    l1_weight: float,
    giou_weight: float,
    focal_alpha: float,
    focal_gamma: float,
) -> jax.Array:
    """Returns the matching cost (..., Q, M) of each box and each object.

        class_weight * class + l1_weight * |box - object|_1 - giou_weight * GIoU

    The class cost is minus the probability for a softmax (Carion et al., 2020), or the
    difference of the focal losses as positive and as negative for sigmoids (Zhu et al.,
    2020).

    Args:
        logits: (..., Q, K), or K + 1 columns with `has_no_object`.
        boxes_cxcywh: (..., Q, 4), normalized.
        labels: (..., M) int32.
        objects_cxcywh: (..., M, 4), normalized.
        has_no_object: True for a softmax with a class "no object", False for sigmoids.
        focal_alpha: weight of positives.
        focal_gamma: exponent.
    """
    logits = logits.astype(jnp.float32)
    if has_no_object:
        costs = -jax.nn.softmax(logits)
    else:
        log_not_p, log_p = jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)
        positive = -focal_alpha * jnp.exp(focal_gamma * log_not_p) * log_p
        negative = -(1.0 - focal_alpha) * jnp.exp(focal_gamma * log_p) * log_not_p
        costs = positive - negative
    # A product with one-hot labels would turn one infinite logit into NaN everywhere.
    of_object = jnp.take_along_axis(costs, labels[..., None, :], axis=-1)
    distance = jnp.abs(boxes_cxcywh[..., :, None, :] - objects_cxcywh[..., None, :, :])
    overlap = pairwise_giou(
        convert_boxes(boxes_cxcywh, "cxcywh", "xyxy"),
        convert_boxes(objects_cxcywh, "cxcywh", "xyxy"),
    )
    return class_weight * of_object + l1_weight * distance.sum(-1) - giou_weight * overlap


def match_objects(costs: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the one-to-one assignment of queries to objects with the least total cost.

    With more objects than queries, only as many objects as queries are matched. A cost that
    is not finite is taken as larger than all finite ones.

    Args:
        costs: (..., Q, M).
        mask: (..., M) bool, False for padded columns.

    Returns:
        (..., M) int32, the query of each object, and (..., M) bool, whether it has one.
    """
    (Q, M), lead = costs.shape[-2:], costs.shape[:-2]
    mask = jnp.broadcast_to(mask, (*lead, M))
    if Q == 0 or M == 0:
        return jnp.zeros((*lead, M), jnp.int32), jnp.zeros((*lead, M), bool)
    costs = jax.lax.stop_gradient(costs.astype(jnp.float32))
    # One vmap per axis: flattening the axes would gather a batch axis that is sharded over
    # devices.
    match = _match_one
    for _ in lead:
        match = jax.vmap(match)
    return match(costs, mask)


def _match_one(costs: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    finite = jnp.isfinite(costs)
    largest = jnp.max(jnp.where(finite & mask, costs, 0.0), initial=0.0)
    # Padded columns have the same cost for all queries, above that of all objects, so that
    # they do not affect the matching of objects. Not larger than needed, so that small
    # differences of real costs are not lost to rounding.
    costs = jnp.where(finite, costs, largest + 1.0)
    costs = jnp.where(mask, costs, largest + 2.0)
    rows, columns = optax.assignment.hungarian_algorithm(costs)
    query = jnp.zeros(mask.shape, jnp.int32).at[columns].set(rows.astype(jnp.int32))
    return query, jnp.zeros_like(mask).at[columns].set(True) & mask
