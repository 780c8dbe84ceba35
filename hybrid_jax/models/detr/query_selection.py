"""Query selection (two-stage DETR): the highest-scoring cells become the queries.

Each cell predicts class logits and a box around itself. The cells with the highest scores
give the queries and their reference boxes (Zhu et al., 2020; Zhao et al., 2023).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.models.detr.box_head import BoxHead, inverse_sigmoid
from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.layers.transformer import layer_norm, linear
from hybrid_jax.outputs import BoxSet
from hybrid_jax.specs import ViTSpec

# Normalized side of a cell's anchor box on the finest level; it doubles with each coarser
# level (Zhu et al., 2020).
_FINEST_SIDE = 0.05


class QuerySelection(nnx.Module):
    """Selects cells by the score of their best class.

    Args:
        spec: gives the width and the dtype.
        columns: number of logits.
        has_no_object: whether the last logit means "no object".
    """

    def __init__(self, spec: ViTSpec, columns: int, *, has_no_object: bool, rngs: nnx.Rngs):
        self.project = linear(spec, spec.width, spec.width, rngs=rngs)
        self.norm = layer_norm(spec, rngs=rngs)
        self.head = BoxHead(
            spec, columns, prior_bias=not has_no_object, zero_init=True, rngs=rngs
        )
        self.has_no_object = has_no_object

    def __call__(
        self, memory: Memory, *, count: int
    ) -> tuple[jax.Array, jax.Array, BoxSet]:
        """Selects the `count` best cells, or all if there are fewer; padding comes last.

        Returns:
            Queries (B, Q, D) and their boxes before a sigmoid (B, Q, 4), both without
            gradient, and the same boxes with gradient, for the loss of the proposals.
        """
        x = self.norm(self.project(memory.tokens))
        logits, change = self.head(x)
        boxes = change + inverse_sigmoid(jnp.asarray(anchor_boxes(memory)))
        scores = logits
        if self.has_no_object:
            scores = jax.nn.log_softmax(logits)[..., :-1]
        scores = scores.max(-1)
        if memory.mask is not None:
            scores = jnp.where(memory.mask, scores, -jnp.inf)
        _, best = jax.lax.top_k(scores, min(count, scores.shape[1]))

        def chosen(rows: jax.Array) -> jax.Array:
            return jnp.take_along_axis(rows, best[..., None], axis=1)

        boxes = chosen(boxes)
        proposals = BoxSet(chosen(logits), jax.nn.sigmoid(boxes))
        stop = jax.lax.stop_gradient
        return stop(chosen(x)), stop(boxes), proposals


def anchor_boxes(memory: Memory) -> np.ndarray:
    """Returns (N, 4) float32, a normalized cxcywh box at the center of each cell."""
    centers = memory.centers_px() / np.array(memory.image_hw[::-1], np.float32)
    sides = [
        np.full((h * w, 2), min(_FINEST_SIDE * 2.0**index, 1.0), np.float32)
        for index, (_, (h, w)) in enumerate(memory.levels)
    ]
    return np.concatenate([centers, np.concatenate(sides)], axis=-1)
