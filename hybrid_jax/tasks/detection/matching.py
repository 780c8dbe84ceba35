"""Which of a model's boxes answers for which object: the cheapest one-to-one assignment.

The set loss of DETR (Carion et al., 2020). L may stand for any leading axes, such as the
layers of a decoder and the images of a batch.
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
    """Returns the cost (..., Q, M) of letting each box answer for each object.

        class_weight * class + l1_weight * |box - object|_1 - giou_weight * GIoU

    The class costs minus its probability under a softmax (Carion et al., 2020); for
    sigmoids, what the focal loss would lose by it (Zhu et al., 2020).

    Args:
        logits: (..., Q, K), or K + 1 columns with `has_no_object`.
        boxes_cxcywh: (..., Q, 4), shares of the image.
        labels: (..., M) int32.
        objects_cxcywh: (..., M, 4), shares of the image.
        has_no_object: whether the logits are of one softmax.
        focal_alpha: weight of the positives.
        focal_gamma: exponent.
    """
    logits = logits.astype(jnp.float32)
    if has_no_object:
        costs = -jax.nn.softmax(logits)
    else:
        losing, winning = jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)
        hit = -focal_alpha * jnp.exp(focal_gamma * losing) * winning
        miss = -(1.0 - focal_alpha) * jnp.exp(focal_gamma * winning) * losing
        costs = hit - miss
    # A product with ones and zeros would turn one infinite logit into NaN everywhere.
    of_object = jnp.take_along_axis(costs, labels[..., None, :], axis=-1)
    distance = jnp.abs(boxes_cxcywh[..., :, None, :] - objects_cxcywh[..., None, :, :])
    overlap = pairwise_giou(
        convert_boxes(boxes_cxcywh, "cxcywh", "xyxy"),
        convert_boxes(objects_cxcywh, "cxcywh", "xyxy"),
    )
    return class_weight * of_object + l1_weight * distance.sum(-1) - giou_weight * overlap


def match_objects(costs: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Assigns queries to objects, no query twice, at the least total cost.

    With more objects than queries, as many are served as there are queries: those that
    make the total least. Costs that are not finite are more than any that is.

    Args:
        costs: (..., Q, M).
        mask: (..., M) bool, False for columns that are no object.

    Returns:
        (..., M) int32, the query of each object, and (..., M) bool, whether it has one.
    """
    (Q, M), lead = costs.shape[-2:], costs.shape[:-2]
    mask = jnp.broadcast_to(mask, (*lead, M))
    if Q == 0 or M == 0:
        return jnp.zeros((*lead, M), jnp.int32), jnp.zeros((*lead, M), bool)
    costs = jax.lax.stop_gradient(costs.astype(jnp.float32))
    # One axis after the other: examples may lie on several devices, and joining their axis
    # with another would bring all of them to each.
    match = _match_one
    for _ in lead:
        match = jax.vmap(match)
    return match(costs, mask)


def _match_one(costs: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    finite = jnp.isfinite(costs)
    asked = finite & mask
    most = jnp.max(jnp.where(asked, costs, 0.0), initial=0.0)
    # Columns of no object cost all queries alike, and more than those of objects: they
    # neither sway the choice nor take a query that an object could have. No larger than
    # that, or the small differences between real costs would be lost to rounding.
    costs = jnp.where(finite, costs, most + 1.0)
    costs = jnp.where(mask, costs, most + 2.0)
    rows, columns = optax.assignment.hungarian_algorithm(costs)
    query = jnp.zeros(mask.shape, jnp.int32).at[columns].set(rows.astype(jnp.int32))
    return query, jnp.zeros_like(mask).at[columns].set(True) & mask
