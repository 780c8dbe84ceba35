"""`detr`: a set of boxes, each by a query that attends to the image.

    memory  = cells of all strides, projected to D; encoder_layers over them  (B, N, D)
    queries = Q learned ones, or the Q cells that most look like an object    (B, Q, D)
    boxes   = decoder(queries, memory), after every layer: K logits, cx, cy, w, h

With `encoder_layers=6, scores="softmax", input_norm=False` it is DETR (Carion et al.,
2020); with `attention="deformable"` and encoder layers Deformable DETR (Zhu et al., 2020),
its queries from learned boxes (DAB, Liu et al., 2022); on the fusion `rtdetr_encoder` with
`strides=(8, 16, 32), attention="deformable", query_selection=True, denoising=200` RT-DETR
(Zhao et al., 2023). Set prediction needs long schedules: DETR itself was trained for 500
epochs, and from scratch on a few thousand images it finds nothing for hundreds; selection,
denoising and references shorten that much.
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.detr.box_head import inverse_sigmoid
from hybrid_jax.models.detr.decoder import DETRDecoder
from hybrid_jax.models.detr.denoising import Denoising, NoisedQueries, group_bias
from hybrid_jax.models.detr.encoder import DETREncoder
from hybrid_jax.models.detr.memory import Memory, MemoryMaker
from hybrid_jax.models.detr.query_selection import QuerySelection
from hybrid_jax.models.heads import HEADS
from hybrid_jax.ops.normalized_boxes import shares_from_px, shares_of_image
from hybrid_jax.outputs import BoxSet, DenoisingOutputs, SetDetectionOutputs
from hybrid_jax.specs import ViTSpec


@HEADS.register("detr")
class DETR(nnx.Module):
    """Encoder, queries and decoder.

    Args:
        channels: stride -> C of the maps a fusion gives.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype; what becomes logits and boxes keeps to float32.
        strides: the levels.
        queries: Q; fewer where selection finds fewer cells.
        dim: D, a multiple of 4 and of `heads`.
        heads: of every attention.
        mlp_dim: hidden width of the feed-forward layers.
        encoder_layers: over the cells; hybrids have attended already.
        decoder_layers: at least 1.
        attention: "full" over the cells of all levels, or "deformable", a few points
            around a reference.
        query_selection: whether the cells choose the queries and their first boxes.
        denoising: noised objects an image in training, half of them negatives; 0 is off.
        scores: a "sigmoid" for each class, or one "softmax" with a column for "no object".
        dropout: rate in all layers.
        input_norm: whether the projected maps are normed; DETR's are not.
        shares_of: what the boxes are shares of: the whole "image", or its "content", the
            part that is no padding, as DETR was trained; without references alone.
            Outputs are of the image always.

    Raises:
        UserError: numbers that do not go together.
    """

    task = "detection"
    strides = (32,)
    reads_targets = True

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: str,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (32,),
        queries: int = 100,
        dim: int = 256,
        heads: int = 8,
        mlp_dim: int = 1024,
        encoder_layers: int = 0,
        decoder_layers: int = 6,
        attention: Literal["full", "deformable"] = "full",
        query_selection: bool = False,
        denoising: int = 0,
        scores: Literal["sigmoid", "softmax"] = "sigmoid",
        dropout: float = 0.0,
        input_norm: bool = True,
        shares_of: Literal["image", "content"] = "image",
    ):
        deformable, self.has_no_object = attention == "deformable", scores == "softmax"
        self.refines = deformable or query_selection or denoising > 0
        self.strides, self.queries = tuple(sorted(strides)), queries
        self.shares_of = shares_of
        _check_width(dim, heads=heads)
        _check(queries=queries, decoder_layers=decoder_layers)
        self._check_references(denoising)
        sizes = dict(width=dim, heads=heads, mlp_dim=mlp_dim, norm_eps=1e-5)
        sizes |= dict(dropout=dropout, dtype=dtype)
        columns = num_classes + self.has_no_object
        looks = dict(levels=len(self.strides), deformable=deformable, rngs=rngs)
        encoder = ViTSpec(depth=encoder_layers, **sizes)
        self.memory = MemoryMaker(
            encoder,
            channels,
            strides=self.strides,
            normed=input_norm,
            positioned=encoder_layers > 0 or not deformable,
            rngs=rngs,
        )
        self.encoder = DETREncoder(encoder, **looks) if encoder_layers else None
        decoder = ViTSpec(depth=decoder_layers, **sizes)
        self.decoder = DETRDecoder(
            decoder, columns, rare=not self.has_no_object, refines=self.refines, **looks
        )
        self.query_embed, self.reference = (
            (None, None)
            if query_selection
            else _learned(queries, dim, boxed=self.refines, rngs=rngs)
        )
        self.selection = (
            QuerySelection(decoder, columns, has_no_object=self.has_no_object, rngs=rngs)
            if query_selection
            else None
        )
        noise = dict(count=denoising, num_classes=num_classes, rngs=rngs)
        self.denoising = Denoising(dim, **noise) if denoising else None

    def __call__(
        self,
        features: Features,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        targets: Mapping[str, jax.Array] | None = None,
    ) -> SetDetectionOutputs:
        """Maps the maps to sets of boxes, in float32.

        Args:
            key: for dropout and the noise of `denoising`; without one there is neither.
            targets: a training batch with boxes, which are denoised.
        """
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        memory = self.memory(features, train=train)
        if self.encoder is not None:
            memory = self.encoder(memory, key=keys[0] if train else None)
        x, places, proposals = self._queries(memory)
        bias, noised = None, None
        if self.denoising is not None and targets is not None and key is not None:
            noised = self._noised(targets, memory, key=keys[1])
            bias = group_bias(noised.group, queries=x.shape[1])
            x = jnp.concatenate([noised.queries.astype(x.dtype), x], axis=1)
            places = jnp.concatenate([noised.references, places], axis=1)
        sets = self.decoder(x, places, memory, bias=bias, key=keys[2] if train else None)
        denoising = None
        if noised is not None:
            sets, denoising = _parted(sets, noised)
        if self.shares_of == "content" and features.mask is not None:
            sets = tuple(
                s.replace(boxes_cxcywh=shares_of_image(s.boxes_cxcywh, features.mask))
                for s in sets
            )
        return SetDetectionOutputs(
            layers=sets,
            proposals=proposals,
            denoising=denoising,
            image_hw=memory.image_hw,
            has_no_object=self.has_no_object,
        )

    def _queries(self, memory: Memory) -> tuple[jax.Array, jax.Array, BoxSet | None]:
        """Returns queries (B, Q, D), their boxes or positions, and the cells' boxes."""
        if self.selection is not None:
            return self.selection(memory, count=self.queries)
        B, dtype = memory.tokens.shape[0], memory.tokens.dtype

        def repeated(rows: jax.Array) -> jax.Array:
            return jnp.broadcast_to(rows, (B, *rows.shape))

        embed = repeated(self.query_embed[...].astype(dtype))
        if self.refines:
            return embed, repeated(self.reference[...]), None
        return jnp.zeros_like(embed), embed, None

    def _noised(self, targets, memory: Memory, *, key: jax.Array) -> NoisedQueries:
        return self.denoising(
            shares_from_px(targets["boxes_xyxy_px"], image_hw=memory.image_hw),
            targets["box_labels"],
            targets["box_mask"],
            key=key,
        )

    def _check_references(self, denoising: int) -> None:
        if denoising < 0 or denoising % 2:
            raise UserError(
                f"head 'detr': denoising: expected an even number, half of them negatives, "
                f"or 0, got {denoising}."
            )
        if self.refines and self.shares_of == "content":
            raise UserError(
                "head 'detr': shares_of='content' is for boxes without references, got "
                "deformable attention, query_selection or denoising with it. Leave "
                "shares_of at 'image'."
            )


def _parted(
    sets: tuple[BoxSet, ...], noised: NoisedQueries
) -> tuple[tuple[BoxSet, ...], DenoisingOutputs]:
    """Parts what became of noised queries from the others, which stand after them."""
    P = noised.group.shape[1]

    def cut(start: int | None, stop: int | None) -> tuple[BoxSet, ...]:
        return tuple(jax.tree.map(lambda x: x[:, start:stop], boxes) for boxes in sets)

    return cut(P, None), DenoisingOutputs(
        layers=cut(None, P),
        target=noised.target,
        is_positive=noised.is_positive,
        mask=noised.mask,
    )


def _learned(
    count: int, dim: int, *, boxed: bool, rngs: nnx.Rngs
) -> tuple[nnx.Param, nnx.Param | None]:
    """Returns queries (count, dim) and, if wanted, their boxes before a sigmoid.

    The boxes lie anywhere in the image and have a fifth of its sides.
    """
    queries = nnx.Param(jax.random.normal(rngs.params(), (count, dim), jnp.float32))
    if not boxed:
        return queries, None
    middles = jax.random.uniform(rngs.params(), (count, 2), minval=0.05, maxval=0.95)
    boxes = jnp.concatenate([middles, jnp.full((count, 2), 0.2)], axis=-1)
    return queries, nnx.Param(inverse_sigmoid(boxes))


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"head 'detr': {name}: expected 1 or more, got {count}.")


def _check_width(dim: int, *, heads: int) -> None:
    if heads < 1 or dim % heads or dim % 4:
        raise UserError(
            f"head 'detr': dim: expected a multiple of 4 and of heads, got dim={dim} and "
            f"heads={heads}."
        )
