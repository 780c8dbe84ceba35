"""The decoder of DETR: self-attention of the queries, then cross-attention to the image.

    x = norm(x + attend(x + p, x + p, x))                              self-attention
    x = norm(x + attend(x + p, memory + positions, memory))            cross-attention
    x = norm(x + feed_forward(x))                                            (B, Q, D)

Without box refinement (Carion et al., 2020) p is learned, and one shared head predicts the
boxes of every layer after one more norm. With box refinement (Zhu et al., 2020; Liu et al.,
2022) p is computed from the box predicted by the previous layer, and each layer has its own
head, which predicts a correction of that box.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.detr.box_head import BoxHead
from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.detr.memory_attention import attend_to_memory, memory_attention
from hybrid_jax.models.detr.post_norm import AddAndNorm, FeedForward, QueryAttention
from hybrid_jax.models.layers.transformer import layer_norm, linear
from hybrid_jax.outputs import BoxSet
from hybrid_jax.specs import ViTSpec


class DETRDecoder(nnx.Module):
    """Post-norm decoder layers, each of which predicts a set of boxes.

    Args:
        spec: gives depth, width, heads, hidden width, dropout rate and dtype.
        columns: number of logits.
        prior_bias: see `BoxHead`.
        levels: number of maps.
        deformable: whether queries attend to a few sampled points instead of all cells.
        box_refine: whether each layer refines the boxes of the previous one.
    """

    def __init__(
        self,
        spec: ViTSpec,
        columns: int,
        *,
        prior_bias: bool,
        levels: int,
        deformable: bool,
        box_refine: bool,
        rngs: nnx.Rngs,
    ):
        D, depth = spec.width, range(spec.depth)
        self.box_refine = box_refine
        self.layers = nnx.List(
            [
                DecoderLayer(spec, levels=levels, deformable=deformable, rngs=rngs)
                for _ in depth
            ]
        )
        head: dict[str, Any] = dict(prior_bias=prior_bias, zero_init=box_refine, rngs=rngs)
        if box_refine:
            self.heads = nnx.List([BoxHead(spec, columns, **head) for _ in depth])
            self.position1 = linear(spec, 4, 2 * D, rngs=rngs)
            self.position2 = linear(spec, 2 * D, D, rngs=rngs)
        else:
            self.norm = layer_norm(spec, rngs=rngs)
            self.head = BoxHead(spec, columns, **head)

    def __call__(
        self,
        x: jax.Array,
        places: jax.Array,
        memory: Memory,
        *,
        mask: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[BoxSet, ...]:
        """Returns the boxes after each layer.

        Args:
            x: (B, Q, D), the queries.
            places: with box refinement the reference boxes (B, Q, 4) before a sigmoid,
                float32; without it the positional embeddings of the queries (B, Q, D).
            mask: of the self-attention, broadcastable to (B, heads, Q, Q).
            key: switches dropout on.
        """
        keys = [
            None if key is None else jax.random.fold_in(key, index)
            for index in range(len(self.layers))
        ]
        if self.box_refine:
            return self._refined(x, places, memory, mask=mask, keys=keys)
        sets = []
        for layer, layer_key in zip(self.layers, keys, strict=True):
            x = layer(x, places, memory, mask=mask, key=layer_key)
            logits, boxes = self.head(self.norm(x))
            sets.append(BoxSet(logits, jax.nn.sigmoid(boxes)))
        return tuple(sets)

    def _refined(self, x, reference, memory, *, mask, keys) -> tuple[BoxSet, ...]:
        sets = []
        seen = jax.lax.stop_gradient(reference)
        for layer, head, key in zip(self.layers, self.heads, keys, strict=True):
            boxes = jax.nn.sigmoid(seen)
            position = self.position2(jax.nn.relu(self.position1(boxes)))
            position = position.astype(x.dtype)
            x = layer(x, position, memory, mask=mask, key=key, boxes_cxcywh=boxes)
            logits, change = head(x)
            # The loss of this box also trains the previous layer, whose box it refines;
            # the next layer gets it without gradient ("look forward twice", Zhang et al.,
            # 2022).
            sets.append(BoxSet(logits, jax.nn.sigmoid(reference + change)))
            reference = seen + change
            seen = jax.lax.stop_gradient(reference)
        return tuple(sets)


class DecoderLayer(nnx.Module):
    """Self-attention of the queries, cross-attention to the image, a feed-forward layer."""

    def __init__(self, spec: ViTSpec, *, levels: int, deformable: bool, rngs: nnx.Rngs):
        self.self_attn = QueryAttention(spec, rngs=rngs)
        self.add1 = AddAndNorm(spec, rngs=rngs)
        self.cross_attn = memory_attention(
            spec, levels=levels, deformable=deformable, rngs=rngs
        )
        self.add2 = AddAndNorm(spec, rngs=rngs)
        self.ffn = FeedForward(spec, rngs=rngs)
        self.add3 = AddAndNorm(spec, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        position: jax.Array,
        memory: Memory,
        *,
        mask: jax.Array | None,
        key: jax.Array | None,
        boxes_cxcywh: jax.Array | None = None,
    ) -> jax.Array:
        """Maps queries (B, Q, D) to queries of the same shape.

        Args:
            position: (B, Q, D), added to queries and keys.
            mask: of the self-attention.
            boxes_cxcywh: (B, Q, 4), normalized reference boxes of deformable attention.
        """
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        placed = x + position
        x = self.add1(x, self.self_attn(placed, placed, x, mask=mask), key=keys[0])
        y = self._cross_attend(x + position, memory, boxes_cxcywh)
        x = self.add2(x, y, key=keys[1])
        return self.add3(x, self.ffn(x, key=keys[2]), key=keys[3])

    def _cross_attend(self, query, memory: Memory, boxes_cxcywh) -> jax.Array:
        """Maps queries (B, Q, D) and their boxes (B, Q, 4), or None, to (B, Q, D)."""
        if boxes_cxcywh is None:
            return attend_to_memory(self.cross_attn, query, memory, references_px=None)
        size = jnp.asarray(memory.image_hw[::-1], jnp.float32)
        return attend_to_memory(
            self.cross_attn,
            query,
            memory,
            references_px=boxes_cxcywh[..., :2] * size,
            sizes_px=boxes_cxcywh[..., 2:] * size,
        )
