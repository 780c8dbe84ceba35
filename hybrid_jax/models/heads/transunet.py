"""`transunet`: a U-Net decoder from the tokens up, with the ResNet's maps as skips.

Chen et al. (2021). Each step enlarges twofold, adds the map of that stride as more channels
where there is one, and applies two 3x3 convolutions:

    stride   16 -> 8 (skip) -> 4 (skip) -> 2 -> 1
    channels    256        128        64   16

The paper has a skip at stride 2 too, the root of the ResNet before its pooling. Fusions
give no map of it, so the last two steps are without.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.layers.conv_norm import ConvNorm
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.ops.rescale import upsample
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.specs import ResNetSpec


@HEADS.register("transunet")
class TransUNet(nnx.Module):
    """Logits at the stride that the last step reaches.

    Args:
        channels: stride -> C of the maps.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype.
        strides: maps it reads, each half the next: the coarsest is where it begins, the
            others are skips.
        bottleneck: channels it begins with.
        steps: channels after each doubling; with two of them, from stride 16, the logits
            have stride 4.

    Raises:
        UserError: strides that are not doubled one by one, or too many or few steps.
    """

    task = "segmentation"
    strides = (4, 8, 16)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: str,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (4, 8, 16),
        bottleneck: int = 512,
        steps: tuple[int, ...] = (256, 128, 64, 16),
    ):
        spec = ResNetSpec(dtype=dtype)
        self.levels = tuple(sorted(strides))
        top = self.levels[-1]
        doubled = all(2 * a == b for a, b in itertools.pairwise(self.levels))
        reached = [top >> (number + 1) for number in range(len(steps))]
        if not doubled or not steps or not 1 <= reached[-1] <= self.levels[0]:
            raise UserError(
                f"head 'transunet': strides and steps: expected strides that double one by "
                f"one, and a step for every doubling from the coarsest down to the finest "
                f"or, at most, to 1; got strides {self.levels} and {len(steps)} steps."
            )
        self.begin = ConvNorm(spec, channels[top], bottleneck, kernel=3, rngs=rngs)
        stages, before = [], bottleneck
        for stride, wide in zip(reached, steps, strict=True):
            skip = channels[stride] if stride in self.levels else 0
            first = ConvNorm(spec, before + skip, wide, kernel=3, rngs=rngs)
            second = ConvNorm(spec, wide, wide, kernel=3, rngs=rngs)
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

        Below the finest map they have whole cells, and may reach past the image's end.
        """
        x = self.begin(features.maps[self.levels[-1]], train=train)
        for stride, convs in zip(self.reached, self.stages, strict=True):
            if stride in self.levels:
                skip = features.maps[stride]
                x = upsample(x, skip.shape[1:3], factor=2)
                x = jnp.concatenate([x, skip.astype(x.dtype)], axis=-1)
            else:
                x = upsample(x, (2 * x.shape[1], 2 * x.shape[2]), factor=2)
            for conv in convs:
                x = conv(x, train=train)
        logits = self.logits(x.astype(jnp.float32))
        return SegmentationOutputs(logits=logits, stride=self.reached[-1])
