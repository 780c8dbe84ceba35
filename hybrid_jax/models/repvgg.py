"""RepVGG blocks: two branches to train, one convolution to run (Ding et al., 2021)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.conv_norm import ConvNorm
from hybrid_jax.models.normalisation import BatchNorm
from hybrid_jax.specs import ResNetSpec


class RepVGG(nnx.Module):
    """A 3x3 and a 1x1 convolution, each with a norm, summed; then SiLU.

    With BatchNorm in eval mode the sum is one 3x3 convolution with a bias: see `fold`.
    """

    def __init__(self, spec: ResNetSpec, channels: int, *, rngs: nnx.Rngs):
        conv = functools.partial(ConvNorm, spec, activation=None, rngs=rngs)
        self.conv3 = conv(channels, channels, kernel=3)
        self.conv1 = conv(channels, channels)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C) to (B, h, w, C)."""
        return jax.nn.silu(self.conv3(x, train=train) + self.conv1(x, train=train))


class CSPRepLayer(nnx.Module):
    """Two 1x1 views of the input, one through RepVGG blocks, summed (RT-DETR, 2023).

    Args:
        blocks: number of RepVGG blocks on the first view.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: int,
        out_channels: int,
        *,
        blocks: int,
        rngs: nnx.Rngs,
    ):
        view = functools.partial(ConvNorm, spec, activation=jax.nn.silu, rngs=rngs)
        self.deep = view(in_channels, out_channels)
        self.flat = view(in_channels, out_channels)
        self.blocks = nnx.List(
            [RepVGG(spec, out_channels, rngs=rngs) for _ in range(blocks)]
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C_in) to (B, h, w, C_out)."""
        y = self.deep(x, train=train)
        for block in self.blocks:
            y = block(y, train=train)
        return y + self.flat(x, train=train)


def fold(block: RepVGG) -> tuple[jax.Array, jax.Array]:
    """Turns a block's two branches into one convolution, exact in eval mode.

    Returns:
        A (3, 3, C, C) kernel and a (C,) bias in float32: convolving with padding 1, adding
        the bias and applying SiLU gives what the block gives.

    Raises:
        UserError: the norms are not BatchNorm. GroupNorm's statistics belong to each
            image, so no fixed kernel can hold them.
    """
    kernel3, bias3 = _folded(block.conv3)
    kernel1, bias1 = _folded(block.conv1)
    # A 1x1 kernel is the middle tap of a 3x3.
    return kernel3.at[1, 1].add(kernel1[0, 0]), bias3 + bias1


def _folded(branch: ConvNorm) -> tuple[jax.Array, jax.Array]:
    """Returns kernel and bias of convolution and running statistics in one."""
    norm = branch.norm
    if not isinstance(norm, BatchNorm):
        raise UserError(
            f"repvgg.fold: norm: expected BatchNorm (ResNetSpec.norm 'batch'), "
            f"got {type(norm).__name__}, whose statistics change with every image."
        )
    scale = norm.scale[...] * jax.lax.rsqrt(norm.var[...] + norm.epsilon)
    kernel = branch.conv.kernel[...].astype(jnp.float32) * scale
    return kernel, norm.bias[...] - norm.mean[...] * scale
