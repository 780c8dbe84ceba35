"""Extra queries in training: objects with noise on them, to be found again.

Li et al., 2022: as it is known whose they are, they teach the decoder without a matching.
Zhang et al., 2022 (DINO): of each pair, one is nearby and should find its object, the other
farther off and should find that there is none.
"""

import jax
import jax.numpy as jnp
from flax import nnx, struct

from hybrid_jax.models.detr.box_head import inverse_sigmoid
from hybrid_jax.models.detr.post_norm import unseen_bias
from hybrid_jax.ops.boxes import convert_boxes

# RT-DETR's (Zhao et al., 2023): corners move by up to half a side, or by half to a whole
# one for the negatives; half of the classes are drawn anew.
_LABEL_NOISE = 0.5


@struct.dataclass
class NoisedQueries:
    """P queries made from the objects of each image.

    Attributes:
        queries: (B, P, D).
        references: (B, P, 4), their boxes before a sigmoid, float32.
        target: (B, P) int32, the object each comes from.
        is_positive: (B, P) bool.
        mask: (B, P) bool, False where an image has no objects.
        group: (B, P) int32; of one group are queries of different objects.
    """

    queries: jax.Array
    references: jax.Array
    target: jax.Array
    is_positive: jax.Array
    mask: jax.Array
    group: jax.Array


class Denoising(nnx.Module):
    """Makes the queries; every image has as many, however many objects it has.

    An image's objects are gone through again and again until the queries are used up: each
    round is a group. So a batch's shapes do not depend on its objects.

    Args:
        dim: D.
        count: P of queries, half of them negatives.
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
        """Puts noise on objects (B, M, 4), shares of the image, with labels (B, M).

        Args:
            mask: (B, M) bool, False for rows that hold no object.
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
        # A class drawn anew is the old one at times; RT-DETR draws for half of the half.
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
        # Corners that have passed each other change places.
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


def group_bias(group: jax.Array, *, queries: int) -> jax.Array:
    """Returns the bias (B, 1, P + Q, P + Q) of attention among noised and other queries.

    A noised query sees its own group and the others proper; those do not see what was made
    from the answers.

    Args:
        group: (B, P).
        queries: Q, which stand after the noised ones.
    """
    B, P = group.shape
    seen = jnp.zeros((B, P + queries, P + queries), bool)
    seen = seen.at[:, :P, :P].set(group[:, :, None] == group[:, None, :])
    seen = seen.at[:, :, P:].set(True)
    return unseen_bias(seen)[:, None]
