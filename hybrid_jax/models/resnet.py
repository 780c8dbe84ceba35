"""ResNet (He et al., 2015) in stages: the root, then four maps of falling resolution."""

import jax
from flax import nnx

from hybrid_jax.models.convolution import Conv
from hybrid_jax.models.normalisation import BatchNorm, GroupNorm
from hybrid_jax.ops.pooling import max_pool
from hybrid_jax.specs import ResNetSpec


def _conv(spec: ResNetSpec, in_channels: int, out_channels: int, **kw) -> Conv:
    """The published hybrids pad like TensorFlow, torch's BatchNorm models centred."""
    grouped = spec.norm == "group"
    return Conv(
        in_channels,
        out_channels,
        padding="same" if grouped else "centred",
        standardised=spec.numerics if grouped else None,
        dtype=spec.dtype,
        **kw,
    )


def _norm(spec: ResNetSpec, channels: int, *, rngs: nnx.Rngs, scale_init: float = 1.0):
    if spec.norm == "batch":
        return BatchNorm(channels, scale_init=scale_init, dtype=spec.dtype, rngs=rngs)
    eps = {"vit_jax": 1e-6, "timm": 1e-5}[spec.numerics]
    return GroupNorm(channels, eps=eps, scale_init=scale_init, dtype=spec.dtype)


class Stem(nnx.Module):
    """The root block: 7x7 convolution and 3x3 maximum, each with stride 2."""

    def __init__(self, spec: ResNetSpec, *, rngs: nnx.Rngs):
        self.conv = _conv(spec, 3, spec.width, kernel=7, stride=2, rngs=rngs)
        self.norm = _norm(spec, spec.width, rngs=rngs)
        self.padding = self.conv.padding

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, H, W, 3) images to a (B, ceil(H/4), ceil(W/4), width) map."""
        x = jax.nn.relu(self.norm(self.conv(images), train=train))
        return max_pool(x, padding=self.padding)


class Downsample(nnx.Module):
    """The shortcut where channels or resolution change: strided 1x1 and a norm."""

    def __init__(self, spec, in_channels, out_channels, *, stride, rngs):
        self.conv = _conv(
            spec, in_channels, out_channels, kernel=1, stride=stride, rngs=rngs
        )
        self.norm = _norm(spec, out_channels, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.norm(self.conv(x), train=train)


class Bottleneck(nnx.Module):
    """1x1, 3x3 (carrying the stride, "v1.5"), 1x1; activation after the sum."""

    def __init__(self, spec, in_channels, width, *, stride, dilation, rngs):
        out_channels = 4 * width
        self.conv1 = _conv(spec, in_channels, width, kernel=1, rngs=rngs)
        self.norm1 = _norm(spec, width, rngs=rngs)
        self.conv2 = _conv(
            spec, width, width, kernel=3, stride=stride, dilation=dilation, rngs=rngs
        )
        self.norm2 = _norm(spec, width, rngs=rngs)
        self.conv3 = _conv(spec, width, out_channels, kernel=1, rngs=rngs)
        # A silent branch makes every block start as the identity (Goyal et al., 2017).
        self.norm3 = _norm(spec, out_channels, rngs=rngs, scale_init=0.0)
        changes = stride > 1 or in_channels != out_channels
        self.downsample = (
            Downsample(spec, in_channels, out_channels, stride=stride, rngs=rngs)
            if changes
            else None
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.spatial(self.reduce(x, train=train), train=train)
        return self.expand(x, y, train=train)

    def reduce(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Narrows (B, h, w, C_in) to `width` channels."""
        return jax.nn.relu(self.norm1(self.conv1(x), train=train))

    def spatial(self, y: jax.Array, *, train: bool) -> jax.Array:
        """Looks at the neighbours: the 3x3 convolution, with the stride."""
        return jax.nn.relu(self.norm2(self.conv2(y), train=train))

    def expand(self, x: jax.Array, y: jax.Array, *, train: bool) -> jax.Array:
        """Widens `y` and adds it to the block's input `x`."""
        y = self.norm3(self.conv3(y), train=train)
        shortcut = x if self.downsample is None else self.downsample(x, train=train)
        return jax.nn.relu(shortcut + y)


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
        # Past the output stride, a stage looks as far as its stride would have taken it.
        # Its first block still works at the spacing of the map it receives.
        dilation = wanted // self.stride
        first_dilation = max(dilation // 2, 1) if self.stride == in_stride else 1
        blocks = []
        for number in range(spec.blocks[index]):
            first = number == 0
            blocks.append(
                Bottleneck(
                    spec,
                    in_channels if first else self.channels,
                    width,
                    stride=self.stride // in_stride if first else 1,
                    dilation=first_dilation if first else dilation,
                    rngs=rngs,
                )
            )
        self.blocks = nnx.List(blocks)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for block in self.blocks:
            x = block(x, train=train)
        return x


class ResNet(nnx.Module):
    """A staged ResNet: call it whole, or `stem` and `stages[i]` one by one.

    Attributes:
        channels: stride -> C of the map with that stride, root included if it stands alone.
    """

    def __init__(self, spec: ResNetSpec, *, rngs: nnx.Rngs):
        self.stem = Stem(spec, rngs=rngs)
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

        Where dilation gives two stages one stride, the later one's map stays.
        """
        x = self.stem(images, train=train)
        maps = {} if self.stages else {4: x}
        for stage in self.stages:
            x = stage(x, train=train)
            maps[stage.stride] = x
        return maps
