"""`dpt`: Dense Prediction Transformer (Ranftl et al., 2021).

Levels at strides 4, 8, 16 and 32: the finer ones are maps of the fusion, the coarser ones
are reassembled from the tokens after the ViT blocks `taps`. A RefineNet decoder fuses them
from coarse to fine and doubles the resolution with each step. On R50+ViT-B/16 with
`strides=(4, 8)` and `taps=(8, 11)` it is DPT-hybrid, on a plain ViT-L/16 with `strides=()`
and `taps=(5, 11, 17, 23)` it is DPT-large.
"""

import itertools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.dpt_fusion import Decoder, Reassemble, upsample_by
from hybrid_jax.models.decoders.pixel_logits import PixelClassifier, class_logits
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.transformer import dropout
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.specs import Dtype


@HEADS.register("dpt")
class DPT(nnx.Module):
    """Returns logits at a quarter of the finest level's stride.

    Args:
        channels: stride -> C of the maps.
        width: D of the tokens.
        num_classes: K.
        dtype: compute dtype.
        strides: strides of the maps it reads; each is twice the one before.
        taps: indices of the ViT blocks whose tokens give the coarser levels, from 0. The
            strides double from level to level; the first is twice the last of `strides`,
            or 4 if `strides` is empty. The fusions `sequential` and `vit` support taps.
        token_stride: px per token of the taps.
        hidden_dim: channels of the decoder.
        reassemble_channels: channels of each level made of tokens; `width` if empty.
        readout: how the class token is used, "project" or "ignore", see `Reassemble`.
        norm: "group", or "batch" as in published weights.
        residual_norm: whether the residual units have norms too.
        align_corners: upsampling of the decoder, see `upsample_by`; True for published
            weights.
        auxiliary: whether an auxiliary classifier reads the second finest level.
        dropout: rate before each classifier.

    Raises:
        UserError: strides that do not double one by one, or cannot be made of the tokens.
    """

    task = "segmentation"
    strides = (4, 8, 16, 32)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: Dtype,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        taps: tuple[int, ...] = (),
        token_stride: int = 16,
        hidden_dim: int = 256,
        reassemble_channels: tuple[int, ...] = (),
        readout: Literal["project", "ignore"] = "project",
        norm: Literal["group", "batch"] = "group",
        residual_norm: bool = False,
        align_corners: bool = True,
        auxiliary: bool = False,
        dropout: float = 0.1,
    ):
        map_norm = NormSpec(norm=norm, dtype=dtype)
        self.levels, self.taps = tuple(sorted(strides)), tuple(taps)
        tapped = tapped_levels(self.levels, self.taps, token_stride=token_stride)
        wide = tuple(reassemble_channels) or (width,) * len(tapped)
        if len(wide) != len(tapped):
            raise UserError(
                f"head 'dpt': reassemble_channels: expected one number for each of the "
                f"{len(tapped)} taps, got {wide}."
            )
        kind: dict[str, Any] = dict(readout=readout, dtype=dtype, rngs=rngs)
        self.reassemble = nnx.List(
            [
                Reassemble(width, c, factor=token_stride / level, **kind)
                for c, level in zip(wide, tapped, strict=True)
            ]
        )
        in_channels = (*(channels[s] for s in self.levels), *wide)
        kind = dict(residual_norm=residual_norm, align_corners=align_corners, rngs=rngs)
        self.decoder = Decoder(map_norm, in_channels, hidden_dim, **kind)
        self.conv = ConvNorm(map_norm, hidden_dim, hidden_dim, kernel=3, rngs=rngs)
        self.logits = class_logits(hidden_dim, num_classes, rngs=rngs)
        kind = dict(num_classes=num_classes, dropout=dropout, rngs=rngs)
        self.auxiliary = (
            PixelClassifier(map_norm, hidden_dim, hidden_dim, **kind) if auxiliary else None
        )
        self.finest = min((*self.levels, *tapped))
        self.align_corners, self.dropout = align_corners, dropout

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> SegmentationOutputs:
        """Maps {stride: (B, h, w, C_s)} and tokens to logits (B, 4 h, 4 w, K).

        The logits may extend past the bottom and right border of the image.
        """
        keys = (None, None) if key is None or not train else jax.random.split(key)
        levels = [features.maps[stride] for stride in self.levels]
        fused = self.decoder(levels + self._from_tokens(features), train=train)
        x = dropout(self.conv(fused[0], train=train), rate=self.dropout, key=keys[0])
        logits = self.logits(x.astype(jnp.float32))
        auxiliary = None
        if self.auxiliary is not None:
            auxiliary = self.auxiliary(fused[1], train=train, key=keys[1])
        return SegmentationOutputs(
            logits=upsample_by(logits, factor=2, align_corners=self.align_corners),
            stride=self.finest // 4,
            auxiliary=auxiliary,
            auxiliary_stride=self.finest,
        )

    def _from_tokens(self, features: Features) -> list[jax.Array]:
        pairs = zip(self.reassemble, features.intermediates, strict=True)
        return [reassemble(block) for reassemble, block in pairs]


def tapped_levels(
    strides: tuple[int, ...], taps: tuple[int, ...], *, token_stride: int
) -> tuple[int, ...]:
    """Returns the strides of the levels that are made of tokens.

    Raises:
        UserError: fewer than two levels, strides that do not double one by one, or a
            level whose stride is neither a multiple nor a divisor of `token_stride`.
    """
    first = 2 * strides[-1] if strides else 4
    tapped = tuple(first << number for number in range(len(taps)))
    levels = (*strides, *tapped)
    doubled = all(2 * a == b for a, b in itertools.pairwise(levels))
    whole = all(max(s, token_stride) % min(s, token_stride) == 0 for s in tapped)
    if len(levels) < 2 or not doubled or not whole or levels[0] < 4 or levels[-1] > 64:
        raise UserError(
            f"head 'dpt': strides and taps: expected two or more levels whose strides "
            f"double one by one between 4 and 64 px; levels made of taps must have a "
            f"multiple or a divisor of token_stride {token_stride}. Got strides {strides} "
            f"and taps {taps}, which make levels at the strides {levels}. With taps, "
            f"`strides` lists only the finer maps, e.g. strides=(4, 8) and taps=(8, 11)."
        )
    return tapped
