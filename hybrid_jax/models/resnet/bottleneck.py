"""Residual bottleneck blocks (He et al., 2015, 2016): 1x1, 3x3, 1x1 and a shortcut."""

import jax
from flax import nnx

from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.remat import run_block
from hybrid_jax.models.resnet import conv_and_norm as layers
from hybrid_jax.ops.pooling import neighbor_mean
from hybrid_jax.ops.rescale import average_pool
from hybrid_jax.specs import ResNetSpec


class Downsample(nnx.Module):
    """The projection shortcut of a block that changes channels or resolution.

    A 1x1 convolution and a norm. With pre-activation there is no norm, because the input
    is normed already.

    Args:
        stride: of the 1x1 convolution, or of the 2x2 average pooling before it ("pooled"
            shortcuts, ResNet-D, He et al., 2018).
        spacing: dilation of the 2x2 average pooling where dilation replaces the stride; 0
            in a first stage, which never halves its map.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        spacing: int,
        rngs: nnx.Rngs,
    ):
        pooled = spec.shortcut == "pooled"
        self.conv = layers.conv(
            spec,
            in_channels,
            out_channels,
            kernel=1,
            stride=1 if pooled else stride,
            rngs=rngs,
        )
        self.norm = (
            None if spec.preactivation else layers.norm(spec, out_channels, rngs=rngs)
        )
        self.factor = stride if pooled else 1
        self.spacing = spacing if pooled and stride == 1 else 0

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C_in) to (B, ceil(h / stride), ceil(w / stride), C_out)."""
        x = average_pool(x, factor=self.factor)
        if self.spacing:
            x = neighbor_mean(x, spacing=self.spacing)
        x = self.conv(x)
        return x if self.norm is None else self.norm(x, train=train)

    def fold_in_place(self) -> None:
        """Folds the norm into the convolution, see `layers/folding.py`."""
        if self.norm is not None:
            self.norm = self.norm.folded_into(self.conv)


class Bottleneck(nnx.Module):
    """1x1, 3x3 (with the stride, "v1.5"), 1x1; activation after the sum.

    Args:
        width: channels of the 3x3 convolution; the output has four times as many.
        stride: of the 3x3 convolution.
        dilation: of the 3x3 convolution.
        spacing: see `Downsample`.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        *,
        stride: int,
        dilation: int,
        spacing: int,
        rngs: nnx.Rngs,
    ):
        out_channels = 4 * width
        self.conv1 = layers.conv(spec, in_channels, width, kernel=1, rngs=rngs)
        self.norm1 = layers.norm(spec, width, rngs=rngs)
        # A fusion that replaces it sets it to None.
        self.conv2: Conv | None = layers.conv(
            spec, width, width, kernel=3, stride=stride, dilation=dilation, rngs=rngs
        )
        self.norm2 = layers.norm(spec, width, rngs=rngs)
        self.conv3 = layers.conv(spec, width, out_channels, kernel=1, rngs=rngs)
        # A branch of zero makes every block start as the identity (Goyal et al., 2017).
        self.norm3 = (
            None
            if spec.preactivation
            else layers.norm(spec, out_channels, rngs=rngs, scale_init=0.0)
        )
        self.remat = spec.remat
        changes = stride > 1 or in_channels != out_channels
        self.downsample = (
            Downsample(
                spec, in_channels, out_channels, stride=stride, spacing=spacing, rngs=rngs
            )
            if changes
            else None
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C_in) to (B, ceil(h / stride), ceil(w / stride), 4 * width)."""

        def run(block, x):
            y = block.spatial(block.reduce(x, train=train), train=train)
            return block.expand(x, y, train=train)

        return run_block(run, self, x, remat=self.remat)

    def reduce(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Narrows (B, h, w, C_in) to `width` channels."""
        return jax.nn.relu(self.norm1(self.conv1(x), train=train))

    def spatial(self, y: jax.Array, *, train: bool) -> jax.Array:
        """Applies the 3x3 convolution, with the stride."""
        assert self.conv2 is not None
        return jax.nn.relu(self.norm2(self.conv2(y), train=train))

    def expand(self, x: jax.Array, y: jax.Array, *, train: bool) -> jax.Array:
        """Widens `y` and adds it to the block's input `x`."""
        assert self.norm3 is not None  # pre-activation blocks have their own `expand`
        y = self.norm3(self.conv3(y), train=train)
        shortcut = x if self.downsample is None else self.downsample(x, train=train)
        return jax.nn.relu(shortcut + y)

    def fold_in_place(self) -> None:
        """Folds each norm into the convolution before it, see `layers/folding.py`."""
        self.norm1 = self.norm1.folded_into(self.conv1)
        if self.conv2 is not None:
            self.norm2 = self.norm2.folded_into(self.conv2)
        if self.norm3 is not None:
            self.norm3 = self.norm3.folded_into(self.conv3)


class PreActivationBottleneck(Bottleneck):
    """A bottleneck with norm and ReLU before each convolution (He et al., 2016).

    `norm0` normalizes the input; `norm1` and `norm2` follow `conv1` and `conv2`, so that
    `reduce`, `spatial` and `expand` have the same meaning as in `Bottleneck`. The last
    block of the network also normalizes its sum, by `final_norm`.

    Args:
        last: whether it is the last block of the network.
        placed: `stride`, `dilation` and `spacing`, as in `Bottleneck`.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        *,
        last: bool,
        rngs: nnx.Rngs,
        **placed: int,
    ):
        super().__init__(spec, in_channels, width, rngs=rngs, **placed)
        self.norm0 = layers.norm(spec, in_channels, rngs=rngs)
        self.final_norm = layers.norm(spec, 4 * width, rngs=rngs) if last else None

    def reduce(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Narrows (B, h, w, C_in) to `width` channels."""
        return super().reduce(self._activated(x, train=train), train=train)

    def expand(self, x: jax.Array, y: jax.Array, *, train: bool) -> jax.Array:
        """Widens `y` and adds it to the block's input `x`."""
        if self.downsample is not None:
            # The compiler removes this copy of what `reduce` computes.
            x = self.downsample(self._activated(x, train=train), train=train)
        x = x + self.conv3(y)
        if self.final_norm is not None:
            x = jax.nn.relu(self.final_norm(x, train=train))
        return x

    def _activated(self, x: jax.Array, *, train: bool) -> jax.Array:
        return jax.nn.relu(self.norm0(x, train=train))
