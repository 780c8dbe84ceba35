"""The decoder of DETR: queries attend to each other, then to the image, and say boxes.

    x = norm(x + attend(x + p, x + p, x))                              to each other
    x = norm(x + attend(x + p, memory + positions, memory))            to the image
    x = norm(x + feed_forward(x))                                            (B, Q, D)

Without references (Carion et al., 2020) p is learned and every layer is read by the same
head after one more norm. With references (Zhu et al., 2020; Liu et al., 2022) p is made of
the box that the layer before said, and each layer's own head says how to change it.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.detr.box_head import BoxHead
from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.detr.memory_attention import look, memory_attention
from hybrid_jax.models.detr.post_norm import AddAndNorm, FeedForward, QueryAttention
from hybrid_jax.models.layers.transformer import layer_norm, linear
from hybrid_jax.outputs import BoxSet
from hybrid_jax.specs import ViTSpec


class DETRDecoder(nnx.Module):
    """Post-norm layers, each of which gives a set of boxes.

    Args:
        spec: gives depth, width, heads, hidden width, dropout rate and dtype.
        columns: of the logits.
        rare: whether all classes begin as improbable.
        levels: number of maps.
        deformable: whether queries look at a few points around their reference.
        refines: whether there are references.
    """

    def __init__(
        self,
        spec: ViTSpec,
        columns: int,
        *,
        rare: bool,
        levels: int,
        deformable: bool,
        refines: bool,
        rngs: nnx.Rngs,
    ):
        D, depth = spec.width, range(spec.depth)
        self.refines = refines
        self.layers = nnx.List(
            [
                DecoderLayer(spec, levels=levels, deformable=deformable, rngs=rngs)
                for _ in depth
            ]
        )
        head = dict(rare=rare, silent=refines, rngs=rngs)
        if refines:
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
        bias: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[BoxSet, ...]:
        """Returns the boxes after each layer.

        Args:
            x: (B, Q, D), the queries.
            places: with references their boxes (B, Q, 4) before a sigmoid, float32;
                without, the queries' positions (B, Q, D).
            bias: of the attention among queries, broadcastable to (B, heads, Q, Q).
            key: switches dropout on.
        """
        keys = [
            None if key is None else jax.random.fold_in(key, index)
            for index in range(len(self.layers))
        ]
        if self.refines:
            return self._refined(x, places, memory, bias=bias, keys=keys)
        sets = []
        for layer, layer_key in zip(self.layers, keys, strict=True):
            x = layer(x, places, memory, bias=bias, key=layer_key)
            logits, boxes = self.head(self.norm(x))
            sets.append(BoxSet(logits, jax.nn.sigmoid(boxes)))
        return tuple(sets)

    def _refined(self, x, reference, memory, *, bias, keys) -> tuple[BoxSet, ...]:
        sets = []
        seen = jax.lax.stop_gradient(reference)
        for layer, head, key in zip(self.layers, self.heads, keys, strict=True):
            boxes = jax.nn.sigmoid(seen)
            position = self.position2(jax.nn.relu(self.position1(boxes)))
            position = position.astype(x.dtype)
            x = layer(x, position, memory, bias=bias, key=key, boxes_cxcywh=boxes)
            logits, change = head(x)
            # The box said also teaches the layer before, whose box it starts from; what
            # the next layer sees does not ("look forward twice", Zhang et al., 2022).
            sets.append(BoxSet(logits, jax.nn.sigmoid(reference + change)))
            reference = seen + change
            seen = jax.lax.stop_gradient(reference)
        return tuple(sets)


class DecoderLayer(nnx.Module):
    """Attention among queries, attention to the image, and a feed-forward layer."""

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
        bias: jax.Array | None,
        key: jax.Array | None,
        boxes_cxcywh: jax.Array | None = None,
    ) -> jax.Array:
        """Maps queries (B, Q, D) to queries.

        Args:
            position: (B, Q, D), added where queries ask and are asked.
            bias: of the attention among queries.
            boxes_cxcywh: (B, Q, 4), where deformable attention looks.
        """
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        placed = x + position
        x = self.add1(x, self.self_attn(placed, placed, x, bias=bias), key=keys[0])
        found = self._look(x + position, memory, boxes_cxcywh)
        x = self.add2(x, found, key=keys[1])
        return self.add3(x, self.ffn(x, key=keys[2]), key=keys[3])

    def _look(self, query, memory: Memory, boxes_cxcywh) -> jax.Array:
        """Returns what queries (B, Q, D) find in the image, around their boxes if any."""
        if boxes_cxcywh is None:
            return look(self.cross_attn, query, memory, references_px=None)
        size = jnp.asarray(memory.image_hw[::-1], jnp.float32)
        return look(
            self.cross_attn,
            query,
            memory,
            references_px=boxes_cxcywh[..., :2] * size,
            sizes_px=boxes_cxcywh[..., 2:] * size,
        )
