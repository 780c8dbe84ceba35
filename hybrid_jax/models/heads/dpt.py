"""`dpt`: RefineNet-type fusion of maps and of tokens taken out of the ViT.

Dense Prediction Transformer (Ranftl et al., 2021). Levels at strides 4, 8, 16 and 32, the
finer ones maps as they are, the coarser ones reassembled from the tokens after the blocks
`taps`; fused from coarse to fine, each step twice as large. Of R50+ViT-B/16 with
`strides=(4, 8)` and `taps=(8, 11)` it is DPT-hybrid, of a plain ViT-L/16 with `strides=()`
and `taps=(5, 11, 17, 23)` DPT-large.
"""

import itertools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.dpt_fusion import Decoder, Reassemble, enlarge
from hybrid_jax.models.decoders.pixel_logits import PixelReading, class_logits
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.layers.conv_norm import ConvNorm
from hybrid_jax.models.layers.transformer import drop
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.specs import ResNetSpec


@HEADS.register("dpt")
class DPT(nnx.Module):
    """Logits four times as fine as the finest level.

    Args:
        channels: stride -> C of the maps.
        width: D of the tokens.
        num_classes: K.
        dtype: compute dtype.
        strides: maps it reads, each half the next.
        taps: numbers of blocks whose tokens make the levels after those, each again twice
            as coarse as the one before; the first of all at 4 px if there are no maps.
            Fusions `sequential` and `vit` give them.
        token_stride: px per token of the taps.
        hidden: channels of the decoder.
        reassembled: channels of the levels made of tokens, one each; the tokens' own if
            empty.
        readout: what the class token is good for, "project" or "ignore".
        norm: "group", or "batch" as in published weights.
        normed: whether the residual units have norms, too.
        by_corners: enlarges as published weights want it; False keeps cells in place.
        auxiliary: whether the last level but one is read too, for a second loss.
        dropout: rate before each classifier.

    Raises:
        UserError: levels that do not double one by one, or a tap that none can be made of.
    """

    task = "segmentation"
    strides = (4, 8, 16, 32)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: str,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        taps: tuple[int, ...] = (),
        token_stride: int = 16,
        hidden: int = 256,
        reassembled: tuple[int, ...] = (),
        readout: Literal["project", "ignore"] = "project",
        norm: Literal["group", "batch"] = "group",
        normed: bool = False,
        by_corners: bool = True,
        auxiliary: bool = False,
        dropout: float = 0.1,
    ):
        spec = ResNetSpec(norm=norm, dtype=dtype)
        self.levels, self.taps = tuple(sorted(strides)), tuple(taps)
        tapped = tapped_levels(self.levels, self.taps, token_stride=token_stride)
        wide = tuple(reassembled) or (width,) * len(tapped)
        if len(wide) != len(tapped):
            raise UserError(
                f"head 'dpt': reassembled: expected a number for each of the "
                f"{len(tapped)} taps, got {wide}."
            )
        kind = dict(readout=readout, dtype=dtype, rngs=rngs)
        self.reassemble = nnx.List(
            [
                Reassemble(width, c, factor=token_stride / level, **kind)
                for c, level in zip(wide, tapped, strict=True)
            ]
        )
        in_channels = (*(channels[s] for s in self.levels), *wide)
        kind = dict(normed=normed, by_corners=by_corners, rngs=rngs)
        self.decoder = Decoder(spec, in_channels, hidden, **kind)
        self.conv = ConvNorm(spec, hidden, hidden, kernel=3, rngs=rngs)
        self.logits = class_logits(hidden, num_classes, rngs=rngs)
        kind = dict(num_classes=num_classes, dropout=dropout, rngs=rngs)
        self.auxiliary = PixelReading(spec, hidden, hidden, **kind) if auxiliary else None
        self.finest = min((*self.levels, *tapped))
        self.by_corners, self.dropout = by_corners, dropout

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> SegmentationOutputs:
        """Maps {stride: (B, h, w, C_s)} and tokens to logits (B, 4 h, 4 w, K).

        They have whole cells, and may reach past the image's end.
        """
        keys = (None, None) if key is None or not train else jax.random.split(key)
        levels = [features.maps[stride] for stride in self.levels]
        fused = self.decoder(levels + self._from_tokens(features), train=train)
        x = drop(self.conv(fused[0], train=train), rate=self.dropout, key=keys[0])
        logits = self.logits(x.astype(jnp.float32))
        auxiliary = None
        if self.auxiliary is not None:
            auxiliary = self.auxiliary(fused[1], train=train, key=keys[1])
        return SegmentationOutputs(
            logits=enlarge(logits, factor=2, by_corners=self.by_corners),
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
        UserError: fewer than two levels, or levels that are no whole multiples or
            divisors of the tokens' stride.
    """
    first = 2 * strides[-1] if strides else 4
    tapped = tuple(first << number for number in range(len(taps)))
    levels = (*strides, *tapped)
    doubled = all(2 * a == b for a, b in itertools.pairwise(levels))
    whole = all(max(s, token_stride) % min(s, token_stride) == 0 for s in tapped)
    if len(levels) < 2 or not doubled or not whole or levels[0] < 4 or levels[-1] > 64:
        raise UserError(
            f"head 'dpt': strides and taps: expected two or more levels from 4 px on that "
            f"double one by one up to 64, those of the taps multiples or divisors of "
            f"token_stride {token_stride}; got strides {strides} and taps {taps}, which "
            f"make the levels {levels}. With taps, `strides` names the finer maps alone, "
            f"such as strides=(4, 8) and taps=(8, 11)."
        )
    return tapped
