"""`detr`: set prediction of boxes by queries (DETR, Carion et al., 2020).

    memory  = encoder(cells of all strides, projected to D)                   (B, N, D)
    queries = Q learned queries, or the Q cells with the highest scores       (B, Q, D)
    boxes   = decoder(queries, memory), after every layer: K logits, cx, cy, w, h

Options of published models:

- DETR: `encoder_layers=6, scores="softmax", input_norm=False`.
- Deformable DETR (Zhu et al., 2020): `attention="deformable"` and encoder layers; the
  reference boxes are learned, as in DAB-DETR (Liu et al., 2022).
- RT-DETR (Zhao et al., 2023): `strides=(8, 16, 32), attention="deformable",
  query_selection=True, num_denoising=200` on the fusion `rtdetr_encoder`.

Set prediction needs long schedules. DETR was trained for 500 epochs; from scratch on a few
thousand images it detects nothing for the first hundreds of epochs. Query selection,
denoising and box refinement shorten this a lot.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.detr.box_head import inverse_sigmoid
from hybrid_jax.models.detr.decoder import DETRDecoder
from hybrid_jax.models.detr.denoising import Denoising, NoisedQueries, group_mask
from hybrid_jax.models.detr.encoder import DETREncoder
from hybrid_jax.models.detr.memory import Memory, MemoryMaker
from hybrid_jax.models.detr.query_selection import QuerySelection
from hybrid_jax.models.heads import HEADS
from hybrid_jax.ops.normalized_boxes import content_to_image_boxes, normalize_boxes
from hybrid_jax.outputs import BoxSet, DenoisingOutputs, SetDetectionOutputs
from hybrid_jax.specs import Dtype, ViTSpec


@HEADS.register("detr")
class DETR(nnx.Module):
    """DETR: encoder, queries and decoder.

    Args:
        channels: stride -> C of the maps a fusion gives.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype; the layers that predict logits and boxes run in float32.
        strides: strides of the levels.
        num_queries: Q; fewer if query selection has fewer cells to choose from.
        hidden_dim: D, a multiple of 4 and of `num_heads`.
        num_heads: attention heads of every layer.
        mlp_dim: hidden width of the feed-forward layers.
        encoder_layers: number of encoder layers; 0 by default, because most fusions have
            attention already.
        decoder_layers: number of decoder layers, at least 1.
        attention: "full" (over the cells of all levels) or "deformable" (over a few
            sampled points around a reference box).
        query_selection: whether queries and reference boxes come from the best cells
            instead of being learned.
        num_denoising: noised queries per image in training, half of them negatives; an
            even number, 0 for none.
        scores: "sigmoid" (one per class) or "softmax" (with a class "no object").
        dropout: rate in all layers.
        input_norm: whether a GroupNorm follows the projection of each map; DETR has none.
        normalized_by: box coordinates are normalized by the size of the whole "image", or
            of its "content", the part without padding, as in DETR's published weights.
            "content" excludes box refinement. The outputs are always normalized by the
            image.

    Raises:
        UserError: options that exclude each other, or a number out of range.
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
        dtype: Dtype,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (32,),
        num_queries: int = 100,
        hidden_dim: int = 256,
        num_heads: int = 8,
        mlp_dim: int = 1024,
        encoder_layers: int = 0,
        decoder_layers: int = 6,
        attention: Literal["full", "deformable"] = "full",
        query_selection: bool = False,
        num_denoising: int = 0,
        scores: Literal["sigmoid", "softmax"] = "sigmoid",
        dropout: float = 0.0,
        input_norm: bool = True,
        normalized_by: Literal["image", "content"] = "image",
    ):
        deformable, self.has_no_object = attention == "deformable", scores == "softmax"
        self.box_refine = deformable or query_selection or num_denoising > 0
        self.strides, self.num_queries = tuple(sorted(strides)), num_queries
        self.normalized_by = normalized_by
        _check_width(hidden_dim, num_heads=num_heads)
        _check(num_queries=num_queries, decoder_layers=decoder_layers)
        self._check_references(num_denoising)
        sizes: dict[str, Any] = dict(width=hidden_dim, num_heads=num_heads)
        sizes |= dict(mlp_dim=mlp_dim, norm_eps=1e-5, dropout=dropout, dtype=dtype)
        columns = num_classes + self.has_no_object
        kind: dict[str, Any] = dict(levels=len(strides), deformable=deformable, rngs=rngs)
        encoder = ViTSpec(depth=encoder_layers, **sizes)
        self.memory = MemoryMaker(
            encoder,
            channels,
            strides=self.strides,
            input_norm=input_norm,
            use_positions=encoder_layers > 0 or not deformable,
            rngs=rngs,
        )
        self.encoder = DETREncoder(encoder, **kind) if encoder_layers else None
        decoder = ViTSpec(depth=decoder_layers, **sizes)
        kind |= dict(prior_bias=not self.has_no_object, box_refine=self.box_refine)
        self.decoder = DETRDecoder(decoder, columns, **kind)
        self.query_embed, self.reference = (
            (None, None)
            if query_selection
            else _learned(num_queries, hidden_dim, with_boxes=self.box_refine, rngs=rngs)
        )
        self.selection = (
            QuerySelection(decoder, columns, has_no_object=self.has_no_object, rngs=rngs)
            if query_selection
            else None
        )
        kind = dict(count=num_denoising, num_classes=num_classes, rngs=rngs)
        self.denoising = Denoising(hidden_dim, **kind) if num_denoising else None

    def __call__(
        self,
        features: Features,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        targets: Mapping[str, jax.Array] | None = None,
    ) -> SetDetectionOutputs:
        """Returns the boxes of every decoder layer, in float32.

        Args:
            key: of dropout and of the denoising queries; None switches both off.
            targets: a training batch with boxes, for the denoising queries.
        """
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        memory = self.memory(features, train=train)
        if self.encoder is not None:
            memory = self.encoder(memory, key=keys[0] if train else None)
        x, places, proposals = self._queries(memory)
        mask, noised = None, None
        if self.denoising is not None and targets is not None and key is not None:
            noising_key = keys[1]
            assert noising_key is not None  # as `key`
            noised = self.denoising(
                normalize_boxes(targets["boxes_xyxy_px"], image_hw=memory.image_hw),
                targets["box_labels"],
                targets["box_mask"],
                key=noising_key,
            )
            mask = group_mask(noised.group, queries=x.shape[1])
            x = jnp.concatenate([noised.queries.astype(x.dtype), x], axis=1)
            places = jnp.concatenate([noised.references, places], axis=1)
        sets = self.decoder(x, places, memory, mask=mask, key=keys[2] if train else None)
        denoising = None
        if noised is not None:
            sets, denoising = _parted(sets, noised)
        if self.normalized_by == "content" and features.mask is not None:
            sets = tuple(
                dataclasses.replace(
                    s, boxes_cxcywh=content_to_image_boxes(s.boxes_cxcywh, features.mask)
                )
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
        """Returns queries (B, Q, D), their boxes or positions, and the proposals."""
        if self.selection is not None:
            return self.selection(memory, count=self.num_queries)
        B, dtype = memory.tokens.shape[0], memory.tokens.dtype

        def repeated(rows: jax.Array) -> jax.Array:
            return jnp.broadcast_to(rows, (B, *rows.shape))

        assert self.query_embed is not None  # learned without query selection
        embed = repeated(self.query_embed[...].astype(dtype))
        if self.reference is not None:
            return embed, repeated(self.reference[...]), None
        return jnp.zeros_like(embed), embed, None

    def _check_references(self, num_denoising: int) -> None:
        if num_denoising < 0 or num_denoising % 2:
            raise UserError(
                f"head 'detr': num_denoising: expected an even number (half of the noised "
                f"queries are negatives), or 0 for none, got {num_denoising}."
            )
        if self.box_refine and self.normalized_by == "content":
            raise UserError(
                "head 'detr': normalized_by: expected 'image' with deformable attention, "
                "query_selection or num_denoising, which refine reference boxes, got "
                "'content'. Set normalized_by='image'."
            )


def _parted(
    sets: tuple[BoxSet, ...], noised: NoisedQueries
) -> tuple[tuple[BoxSet, ...], DenoisingOutputs]:
    """Splits P + Q boxes into those of the Q queries and those of the P noised ones."""
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
    count: int, hidden_dim: int, *, with_boxes: bool, rngs: nnx.Rngs
) -> tuple[nnx.Param, nnx.Param | None]:
    """Returns learned queries (count, hidden_dim) and boxes (count, 4) before a sigmoid.

    The boxes start at random centers, with a fifth of the image's sides. They are None
    without `with_boxes`.
    """
    queries = nnx.Param(jax.random.normal(rngs.params(), (count, hidden_dim), jnp.float32))
    if not with_boxes:
        return queries, None
    centers = jax.random.uniform(rngs.params(), (count, 2), minval=0.05, maxval=0.95)
    boxes = jnp.concatenate([centers, jnp.full((count, 2), 0.2)], axis=-1)
    return queries, nnx.Param(inverse_sigmoid(boxes))


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"head 'detr': {name}: expected 1 or more, got {count}.")


def _check_width(hidden_dim: int, *, num_heads: int) -> None:
    if num_heads < 1 or hidden_dim % num_heads or hidden_dim % 4:
        raise UserError(
            f"head 'detr': hidden_dim: expected a multiple of 4 and of num_heads, got "
            f"hidden_dim={hidden_dim} and num_heads={num_heads}."
        )
