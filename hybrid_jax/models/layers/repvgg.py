"""RepVGG blocks (Ding et al., 2021): two branches that inference folds into one."""

import functools

import jax
from flax import nnx

from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec


class RepVGG(nnx.Module):
    """A 3x3 and a 1x1 convolution, each with a norm, summed; then SiLU.

    With BatchNorm in eval mode the sum equals one 3x3 convolution with a bias; `fold` of
    `models/layers/folding.py` replaces it by that.
    """

    def __init__(self, norm: NormSpec, channels: int, *, rngs: nnx.Rngs):
        conv = functools.partial(ConvNorm, norm, activation=None, rngs=rngs)
        self.conv3 = conv(channels, channels, kernel=3)
        self.conv1 = conv(channels, channels)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C) to (B, h, w, C)."""
        y = self.conv3(x, train=train)
        if self.conv1 is not None:
            y = y + self.conv1(x, train=train)
        return jax.nn.silu(y)

    def fold_in_place(self) -> None:
        """Adds the 1x1 kernel to the center of the 3x3 kernel and removes the 1x1 branch.

        With GroupNorm both branches are kept, see `models/layers/folding.py`.
        """
        if self.conv1 is None or not (self.conv3.is_folded and self.conv1.is_folded):
            return
        conv, point = self.conv3.conv, self.conv1.conv
        # Folding a norm gives its convolution a bias.
        assert conv.bias is not None
        assert point.bias is not None
        conv.kernel[...], conv.bias[...] = _summed(
            conv.kernel[...], conv.bias[...], point.kernel[...], point.bias[...]
        )
        self.conv1 = None


@jax.jit
def _summed(kernel, bias, point_kernel, point_bias):
    return kernel.at[1, 1].add(point_kernel[0, 0]), bias + point_bias


class CSPRepLayer(nnx.Module):
    """Sum of two 1x1 branches, one followed by RepVGG blocks (RT-DETR, Zhao et al., 2023).

    Args:
        blocks: number of RepVGG blocks.
    """

    def __init__(
        self,
        norm: NormSpec,
        in_channels: int,
        out_channels: int,
        *,
        blocks: int,
        rngs: nnx.Rngs,
    ):
        view = functools.partial(ConvNorm, norm, activation=jax.nn.silu, rngs=rngs)
        self.deep = view(in_channels, out_channels)
        self.flat = view(in_channels, out_channels)
        self.blocks = nnx.List(
            [RepVGG(norm, out_channels, rngs=rngs) for _ in range(blocks)]
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C_in) to (B, h, w, C_out)."""
        y = self.deep(x, train=train)
        for block in self.blocks:
            y = block(y, train=train)
        return y + self.flat(x, train=train)
