"""`transunet`: a U-Net decoder on the tokens, with the ResNet's maps as skip connections.

TransUNet (Chen et al., 2021). Each step doubles the resolution, concatenates the map of
that stride if there is one, and applies two 3x3 convolutions:

    stride   16 -> 8 (skip) -> 4 (skip) -> 2 -> 1
    channels    256        128        64   16

The paper has one more skip at stride 2, from the ResNet's root before its pooling. Fusions
return no map of stride 2, so the last two steps have no skip.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.ops.rescale import upsample
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.specs import Dtype


@HEADS.register("transunet")
class TransUNet(nnx.Module):
    """Returns logits at the stride of the last decoder step.

    Args:
        channels: stride -> C of the maps.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype.
        strides: strides of the maps it reads; each is twice the one before. The coarsest
            map is the decoder's input, the others are skips.
        bottleneck: channels of the first convolution.
        decoder_channels: channels after each doubling of the resolution; with two numbers
            and an input of stride 16 the logits have stride 4.

    Raises:
        UserError: strides that do not double one by one, or too many or too few
            `decoder_channels`.
    """

    task = "segmentation"
    strides = (4, 8, 16)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: Dtype,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (4, 8, 16),
        bottleneck: int = 512,
        decoder_channels: tuple[int, ...] = (256, 128, 64, 16),
    ):
        norm = NormSpec(dtype=dtype)
        self.levels = tuple(sorted(strides))
        top = self.levels[-1]
        doubled = all(2 * a == b for a, b in itertools.pairwise(self.levels))
        reached = [top >> (number + 1) for number in range(len(decoder_channels))]
        if not doubled or not decoder_channels or not 1 <= reached[-1] <= self.levels[0]:
            raise UserError(
                f"head 'transunet': strides and decoder_channels: expected strides that "
                f"double one by one, and one number of channels for each "
                f"doubling of the resolution, from stride {top} to a stride between 1 and "
                f"{self.levels[0]}; got strides {self.levels} and decoder_channels "
                f"{tuple(decoder_channels)}."
            )
        self.begin = ConvNorm(norm, channels[top], bottleneck, kernel=3, rngs=rngs)
        stages, before = [], bottleneck
        for stride, wide in zip(reached, decoder_channels, strict=True):
            skip = channels[stride] if stride in self.levels else 0
            first = ConvNorm(norm, before + skip, wide, kernel=3, rngs=rngs)
            second = ConvNorm(norm, wide, wide, kernel=3, rngs=rngs)
            stages.append(nnx.List([first, second]))
            before = wide
        self.reached = tuple(reached)
        self.stages = nnx.List(stages)
        self.logits = Conv(
            before, num_classes, kernel=3, padding="centered", use_bias=True, rngs=rngs
        )

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> SegmentationOutputs:
        """Maps {stride: (B, h, w, C_s)} to logits (B, h', w', K).

        At strides finer than the finest map, the logits may extend past the bottom and
        right border of the image.
        """
        x = self.begin(features.maps[self.levels[-1]], train=train)
        for stride, convs in zip(self.reached, self.stages, strict=True):
            if stride in self.levels:
                skip = features.maps[stride]
                x = upsample(x, hw_of(skip), factor=2)
                x = jnp.concatenate([x, skip.astype(x.dtype)], axis=-1)
            else:
                x = upsample(x, (2 * x.shape[1], 2 * x.shape[2]), factor=2)
            for conv in convs:
                x = conv(x, train=train)
        logits = self.logits(x.astype(jnp.float32))
        return SegmentationOutputs(logits=logits, stride=self.reached[-1])
