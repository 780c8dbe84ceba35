"""Queries chosen by the image: the cells that most likely hold an object (two stages).

Each cell says a class and a box around itself; the best become the queries and their first
boxes (Zhu et al., 2020; Zhao et al., 2023).
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

# Side of a cell's first box as a share of the image, on the finest level; twice as much on
# each coarser one (Zhu et al., 2020).
_FINEST_SIDE = 0.05


class QuerySelection(nnx.Module):
    """Ranks the cells by their best class.

    Args:
        spec: gives the width and the dtype.
        columns: of the logits.
        has_no_object: whether the last column means "nothing".
    """

    def __init__(self, spec: ViTSpec, columns: int, *, has_no_object: bool, rngs: nnx.Rngs):
        self.project = linear(spec, spec.width, spec.width, rngs=rngs)
        self.norm = layer_norm(spec, rngs=rngs)
        self.head = BoxHead(spec, columns, rare=not has_no_object, silent=True, rngs=rngs)
        self.has_no_object = has_no_object

    def __call__(
        self, memory: Memory, *, count: int
    ) -> tuple[jax.Array, jax.Array, BoxSet]:
        """Chooses `count` cells, or all where there are fewer; real ones first.

        Returns:
            Queries (B, Q, D) and their boxes before a sigmoid (B, Q, 4), both without
            gradient, and the boxes for a loss of their own.
        """
        x = self.norm(self.project(memory.tokens))
        logits, change = self.head(x)
        boxes = change + inverse_sigmoid(jnp.asarray(first_boxes(memory)))
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


def first_boxes(memory: Memory) -> np.ndarray:
    """Returns (N, 4) float32, boxes around the middle of each cell."""
    centers = memory.centers_px() / np.float32(memory.image_hw[::-1])
    sides = [
        np.full((h * w, 2), min(_FINEST_SIDE * 2.0**index, 1.0), np.float32)
        for index, (_, (h, w)) in enumerate(memory.levels)
    ]
    return np.concatenate([centers, np.concatenate(sides)], axis=-1)
