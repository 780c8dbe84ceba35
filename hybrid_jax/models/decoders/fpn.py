"""Feature pyramid network (Lin et al., 2016): a top-down path over the maps of a ResNet.

S_s = norm(conv1x1(C_s)) + nearest x2 of the next coarser S        (B, H/s, W/s, C)
P_s = norm(conv3x3(S_s))                                           (B, H/s, W/s, C)
"""

from typing import Any

import jax
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.ops.rescale import upsample


class FPN(nnx.Module):
    """1x1 lateral convolutions, sums from coarse to fine, 3x3 output convolutions.

    Args:
        norm: of all convolutions, and the dtype.
        in_channels: stride -> channels of the maps it is called with.
        channels: C of every map it returns.
        levels: strides it returns; coarser maps are part of the sums even if they are not
            returned.

    Raises:
        UserError: no levels.
    """

    def __init__(
        self,
        norm: NormSpec,
        in_channels: dict[int, int],
        channels: int,
        *,
        levels: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        if not levels:
            raise UserError("feature pyramid: levels: expected one or more, got none.")
        self.strides = tuple(s for s in sorted(in_channels) if s >= min(levels))
        self.levels = tuple(sorted(levels))
        conv: dict[str, Any] = dict(activation=None, rngs=rngs)
        self.lateral = nnx.List(
            [ConvNorm(norm, in_channels[s], channels, **conv) for s in self.strides]
        )
        self.smooth = nnx.List(
            [ConvNorm(norm, channels, channels, kernel=3, **conv) for _ in self.levels]
        )

    def __call__(self, maps: dict[int, jax.Array], *, train: bool) -> dict[int, jax.Array]:
        """Maps {stride: (B, h, w, C_s)} to {level: (B, h, w, channels)}, fine to coarse."""
        summed, above = {}, None
        for stride, lateral in zip(self.strides[::-1], self.lateral[::-1], strict=True):
            x = lateral(maps[stride], train=train)
            if above is not None:
                x = x + upsample(
                    summed[above], hw_of(x), factor=above // stride, method="nearest"
                )
            summed[stride], above = x, stride
        return {
            stride: smooth(summed[stride], train=train)
            for stride, smooth in zip(self.levels, self.smooth, strict=True)
        }
