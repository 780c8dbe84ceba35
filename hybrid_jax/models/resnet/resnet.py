"""ResNet (He et al., 2015): the stem and up to four stages, each of which gives a map."""

import jax
from flax import nnx

from hybrid_jax.models.resnet.bottleneck import Bottleneck, PreActivationBottleneck
from hybrid_jax.models.resnet.stem import stem
from hybrid_jax.specs import ResNetSpec


class Stage(nnx.Module):
    """A run of bottlenecks at one resolution; the first one changes it.

    Attributes:
        channels: C of the map it emits.
        stride: pixels per cell of that map.
    """

    def __init__(self, spec, in_channels, index, *, in_stride, rngs):
        width = spec.width * 2**index
        wanted = 4 * 2**index
        self.stride = min(wanted, spec.output_stride)
        self.channels = 4 * width
        # Past the output stride, dilation replaces the stride and keeps the receptive
        # field. The first block still has the dilation of its input's stage.
        dilation = wanted // self.stride
        first_dilation = max(dilation // 2, 1) if self.stride == in_stride else 1
        blocks = []
        for number in range(spec.blocks[index]):
            first = number == 0
            blocks.append(
                _block(
                    spec,
                    in_channels if first else self.channels,
                    width,
                    stride=self.stride // in_stride if first else 1,
                    dilation=first_dilation if first else dilation,
                    # The first stage never halves its map, so it never pools.
                    spacing=first_dilation if index else 0,
                    last=(index, number) == (len(spec.blocks) - 1, spec.blocks[-1] - 1),
                    rngs=rngs,
                )
            )
        self.blocks = nnx.List(blocks)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C_in) to (B, h', w', C) at the stage's stride."""
        for block in self.blocks:
            x = block(x, train=train)
        return x


def _block(spec: ResNetSpec, *channels: int, last: bool, **options) -> Bottleneck:
    """Returns the block that the spec describes; `last`: of the network."""
    if spec.preactivation:
        return PreActivationBottleneck(spec, *channels, last=last, **options)
    return Bottleneck(spec, *channels, **options)


class ResNet(nnx.Module):
    """A ResNet. Call all of it, or `stem` and then each of `stages`.

    With pre-activation, the maps between stages are residual sums without norm and ReLU, as
    the next block expects them; only the last map has norm and ReLU.

    Attributes:
        channels: stride -> C of each map: those of the stages, or of the root if there are
            no stages.
    """

    def __init__(self, spec: ResNetSpec, *, rngs: nnx.Rngs):
        self.spec = spec
        self.stem = stem(spec, rngs=rngs)
        self.channels = {} if spec.blocks else {4: spec.width}
        stages, in_channels, in_stride = [], spec.width, 4
        for index in range(len(spec.blocks)):
            stage = Stage(spec, in_channels, index, in_stride=in_stride, rngs=rngs)
            stages.append(stage)
            in_channels, in_stride = stage.channels, stage.stride
            self.channels[stage.stride] = stage.channels
        self.stages = nnx.List(stages)

    def __call__(self, images: jax.Array, *, train: bool) -> dict[int, jax.Array]:
        """Maps (B, H, W, 3) images to {stride: (B, ceil(H/s), ceil(W/s), C_s)}.

        Of stages with the same stride (dilation), the map of the last is returned.
        """
        x = self.stem(images, train=train)
        maps = {} if self.stages else {4: x}
        for stage in self.stages:
            x = stage(x, train=train)
            maps[stage.stride] = x
        return maps
