"""Denoising queries of training: ground-truth boxes and labels with noise added.

DN-DETR (Li et al., 2022): the object of each noised query is known, so its loss needs no
matching. DINO (Zhang et al., 2022): queries come in pairs. The positive has little noise
and is trained to predict its object, the negative has more noise and is trained to predict
"no object".
"""

import jax
import jax.numpy as jnp
from flax import nnx, struct

from hybrid_jax.models.detr.box_head import inverse_sigmoid
from hybrid_jax.ops.boxes import convert_boxes

# As in RT-DETR (Zhao et al., 2023): corners move by up to half a side, those of negatives
# by half a side to a whole one; half of the labels are noised.
_LABEL_NOISE = 0.5


@struct.dataclass
class NoisedQueries:
    """P noised queries of each image.

    Attributes:
        queries: (B, P, D).
        references: (B, P, 4), their boxes before a sigmoid, float32.
        target: (B, P) int32, index of the object that each query is made from.
        is_positive: (B, P) bool.
        mask: (B, P) bool, False where an image has no objects.
        group: (B, P) int32; the pairs of one group belong to different objects.
    """

    queries: jax.Array
    references: jax.Array
    target: jax.Array
    is_positive: jax.Array
    mask: jax.Array
    group: jax.Array


class Denoising(nnx.Module):
    """Makes P noised queries for each image, whatever its number of objects.

    The objects of an image are repeated until there are P queries; each repetition is one
    group. So the shapes of a batch do not depend on its objects.

    Args:
        dim: D.
        count: P, half of them negatives.
        num_classes: K.
    """

    def __init__(self, dim: int, *, count: int, num_classes: int, rngs: nnx.Rngs):
        self.count = count
        draw = jax.random.normal(rngs.params(), (num_classes, dim), jnp.float32)
        self.label_embed = nnx.Param(draw)

    def __call__(
        self,
        objects_cxcywh: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
        *,
        key: jax.Array,
    ) -> NoisedQueries:
        """Adds noise to normalized boxes (B, M, 4) and labels (B, M).

        Args:
            mask: (B, M) bool, False for padded rows.
        """
        keys = jax.random.split(key, 4)
        B, M = mask.shape
        number = mask.sum(1)[:, None]
        pair = jnp.arange(self.count) // 2
        among = pair % jnp.maximum(number, 1)
        order = jnp.argsort(~mask, axis=1, stable=True)  # objects before empty rows
        target = jnp.take_along_axis(order, among, axis=1).astype(jnp.int32)
        is_positive = jnp.broadcast_to(jnp.arange(self.count) % 2 == 0, target.shape)

        label = jnp.take_along_axis(labels, target, axis=1)
        # As in RT-DETR, half of the noised labels are replaced by a random class.
        wrong = jax.random.bernoulli(keys[0], _LABEL_NOISE / 2, label.shape)
        classes = self.label_embed.shape[0]
        label = jnp.where(
            wrong, jax.random.randint(keys[1], label.shape, 0, classes), label
        )

        box = jnp.take_along_axis(objects_cxcywh, target[..., None], axis=1)
        far = (~is_positive).astype(jnp.float32)[..., None]
        part = jax.random.uniform(keys[2], box.shape) + far
        sign = jax.random.rademacher(keys[3], box.shape, jnp.float32)
        moved = convert_boxes(box, "cxcywh", "xyxy")
        moved = moved + sign * part * jnp.tile(box[..., 2:] / 2, 2)
        moved = jnp.clip(moved, 0.0, 1.0)
        # Sort corners that have passed each other.
        low = jnp.minimum(moved[..., :2], moved[..., 2:])
        high = jnp.maximum(moved[..., :2], moved[..., 2:])
        moved = convert_boxes(jnp.concatenate([low, high], -1), "xyxy", "cxcywh")
        return NoisedQueries(
            queries=self.label_embed[...][label],
            references=inverse_sigmoid(moved),
            target=target,
            is_positive=is_positive,
            mask=jnp.broadcast_to(number > 0, target.shape),
            group=(pair // jnp.maximum(number, 1)).astype(jnp.int32),
        )


def group_mask(group: jax.Array, *, queries: int) -> jax.Array:
    """Returns the mask (B, 1, P + Q, P + Q) of the self-attention of all queries.

    A noised query attends to its own group and to the Q others. The Q others do not attend
    to noised queries, which are made from the ground truth.

    Args:
        group: (B, P).
        queries: Q, the number of queries that follow the P noised ones.
    """
    B, P = group.shape
    mask = jnp.zeros((B, P + queries, P + queries), bool)
    mask = mask.at[:, :P, :P].set(group[:, :, None] == group[:, None, :])
    mask = mask.at[:, :, P:].set(True)
    return mask[:, None]
