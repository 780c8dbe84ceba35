"""RepVGG blocks: two branches to train, one convolution to run (Ding et al., 2021)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.conv_norm import ConvNorm
from hybrid_jax.models.convolution import Conv
from hybrid_jax.models.normalisation import BatchNorm
from hybrid_jax.specs import ResNetSpec


class RepVGG(nnx.Module):
    """A 3x3 and a 1x1 convolution, each with a norm, summed; then SiLU.

    With BatchNorm in eval mode the sum is one 3x3 convolution with a bias: see `folded`.
    """

    def __init__(self, spec: ResNetSpec, channels: int, *, rngs: nnx.Rngs):
        conv = functools.partial(ConvNorm, spec, activation=None, rngs=rngs)
        self.conv3 = conv(channels, channels, kernel=3)
        self.conv1 = conv(channels, channels)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C) to (B, h, w, C)."""
        return jax.nn.silu(self.conv3(x, train=train) + self.conv1(x, train=train))

    def folded(self) -> "FoldedRepVGG":
        """Returns the block that gives the same in eval mode with one convolution.

        Raises:
            UserError: the norms are not BatchNorm. GroupNorm's statistics belong to each
                image, so no fixed kernel can hold them.
        """
        kernel3, bias3 = _fold(self.conv3)
        kernel1, bias1 = _fold(self.conv1)
        # A 1x1 kernel is the middle tap of a 3x3.
        kernel = kernel3.at[1, 1].add(kernel1[0, 0])
        return FoldedRepVGG(kernel, bias3 + bias1, dtype=self.conv3.conv.dtype)


class FoldedRepVGG(nnx.Module):
    """What is left of a RepVGG block for inference: a 3x3 convolution, then SiLU.

    Args:
        kernel: (3, 3, C, C) in float32.
        bias: (C,) in float32.
        dtype: compute dtype.
    """

    def __init__(self, kernel: jax.Array, bias: jax.Array, *, dtype: str):
        self.conv = Conv(
            *kernel.shape[2:],
            kernel=3,
            padding="centred",
            use_bias=True,
            kernel_init=lambda *_: kernel,
            dtype=dtype,
            rngs=nnx.Rngs(params=0),
        )
        self.conv.bias[...] = bias

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C) to (B, h, w, C).

        Raises:
            UserError: `train` is on: the norms that training needs are gone.
        """
        if train:
            raise UserError(
                "repvgg: train: expected False, got True: a folded block has no norms to "
                "train with. Train the model it was folded from, then fold that again."
            )
        return jax.nn.silu(self.conv(x))

    def folded(self) -> "FoldedRepVGG":
        """Returns the block itself."""
        return self


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

    def fold(self) -> None:
        """Replaces the blocks by their `folded` selves."""
        self.blocks = nnx.List([block.folded() for block in self.blocks])


def _fold(branch: ConvNorm) -> tuple[jax.Array, jax.Array]:
    """Returns kernel and bias of convolution and running statistics in one, in float32."""
    norm = branch.norm
    if not isinstance(norm, BatchNorm):
        raise UserError(
            f"repvgg: fold: expected BatchNorm, got {type(norm).__name__}, whose "
            f"statistics change with every image. Choose model.resnet_options.norm='batch' "
            f"and train with it."
        )
    scale = norm.scale[...] * jax.lax.rsqrt(norm.var[...] + norm.epsilon)
    kernel = branch.conv.kernel[...].astype(jnp.float32) * scale
    return kernel, norm.bias[...] - norm.mean[...] * scale
