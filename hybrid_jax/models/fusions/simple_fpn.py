"""`simple_fpn`: a pyramid from the single map of a plain ViT (ViTDet, Li et al., 2022).

    z = ViT(x)                                            (B, H/p, W/p, D), normed
    u = up(gelu(norm(up(z)))), up(z), pooled(z)           strides p/4, p/2, 2p
    maps[s] = norm(conv3x3(norm(conv1x1(u))))             (B, H/s, W/s, channels)
    maps[p] = z + norm(conv3x3(norm(conv1x1(z))))         (B, H/p, W/p, D)

`up` is a 2x2 transposed convolution with stride 2, which halves the channels; `pooled` is
the mean of 2x2 cells. Only strides from 4 to 32 are returned: 4, 8, 16 and 32 for 16 px
patches; 4, 8 and 16 for 8 px; 8, 16 and 32 for 32 px. Other patch sizes, and widths that
are not a multiple of 4, raise an error.

ViTDet replaces the map of stride p too. Here a residual is added to it whose last norm
starts at zero, so that at initialization this map and the pooled vector are the ViT's.
"""

import functools
from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Float

from hybrid_jax.array_types import Array, Images
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec, map_norm
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.transformer import gelu
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.rescale import average_pool
from hybrid_jax.specs import Dtype, ResNetSpec, ViTSpec


@FUSIONS.register("simple_fpn")
class SimpleFPN(nnx.Module):
    """A ViT and one branch per stride. Only norm and dtype of the ResNet spec are used.

    `pooled` is the ViT's pooled vector: a head that reads only `pooled` gives no gradient
    to the branches.

    Args:
        channels: C of the maps; the map at the patch stride has D channels.
    """

    parts = ("vit",)
    starts_as = "vit"

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
        channels: int = 256,
    ):
        stride, width = vit_spec.patch_size, vit_spec.width
        if stride not in (8, 16, 32):
            raise UserError(
                f"fusion 'simple_fpn': vit.patch_size: expected 8, 16 or 32, got {stride}."
            )
        if channels < 1:
            raise UserError(
                f"fusion 'simple_fpn': channels: expected 1 or more, got {channels}."
            )
        if width % 4:
            raise UserError(
                f"fusion 'simple_fpn': vit.width: expected a multiple of 4 (each of two "
                f"upsamplings halves it), got {width}."
            )
        self.stride = stride
        self.vit = ViT(vit_spec, grid=grid_of(image_size, stride), rngs=rngs)
        doublings = {stride // 4: 2, stride // 2: 1, stride: 0, 2 * stride: 0}
        strides = [s for s in doublings if 4 <= s <= 32]
        self.channels = {s: width if s == stride else channels for s in strides}
        self.width = width
        self.levels = nnx.List(
            [
                Level(
                    NormSpec.of(resnet_spec),
                    width,
                    activation=gelu(vit_spec),
                    out_channels=self.channels[s],
                    doublings=doublings[s],
                    zero_init=s == stride,
                    rngs=rngs,
                )
                for s in strides
            ]
        )

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the pyramid and the ViT's pooled vector."""
        z, pooled = self.vit(images, train=train, key=key)
        maps = {}
        for stride, level in zip(self.channels, self.levels, strict=True):
            x = average_pool(z, factor=2) if stride > self.stride else z
            y = level(x, grid_of(hw_of(images), stride), train=train)
            maps[stride] = z + y.astype(z.dtype) if stride == self.stride else y
        return Features(maps=maps, pooled=pooled)


class Level(nnx.Module):
    """One level of the pyramid: upsampling, then 1x1 and 3x3 convolutions.

    Args:
        activation: follows the norm between two upsamplings.
        doublings: number of upsamplings; each doubles the resolution and halves the
            channels.
        zero_init: the last norm, and with it the output, starts at zero.
    """

    def __init__(
        self,
        norm: NormSpec,
        in_channels: int,
        *,
        activation: Callable[[jax.Array], jax.Array],
        out_channels: int,
        doublings: int,
        zero_init: bool,
        rngs: nnx.Rngs,
    ):
        ups, norms = [], []
        for number in range(doublings):
            if number:
                norms.append(map_norm(norm, in_channels, rngs=rngs))
            ups.append(Doubling(in_channels, in_channels // 2, dtype=norm.dtype, rngs=rngs))
            in_channels //= 2
        self.ups, self.norms = nnx.List(ups), nnx.List(norms)
        self.activation = activation
        conv = functools.partial(ConvNorm, norm, activation=None, rngs=rngs)
        self.reduce = conv(in_channels, out_channels)
        self.smooth = conv(
            out_channels, out_channels, kernel=3, scale_init=0.0 if zero_init else 1.0
        )

    def __call__(
        self, x: Float[Array, "B h w D"], hw: tuple[int, int], *, train: bool
    ) -> Float[Array, "B {hw[0]} {hw[1]} C"]:
        """Maps (B, h, w, C) to (B, *hw, out_channels), cropped to `hw`."""
        for number, up in enumerate(self.ups):
            if number:
                x = self.activation(self.norms[number - 1](x, train=train))
            x = up(x)
        x = x[:, : hw[0], : hw[1]]
        return self.smooth(self.reduce(x, train=train), train=train)


class Doubling(nnx.Module):
    """A 2x2 transposed convolution with stride 2: one matrix product and a reshape.

    Windows do not overlap: each cell gives four, so the kernel (C_in, row, column, C_out)
    acts on single cells, followed by depth-to-space.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dtype: Dtype, rngs: nnx.Rngs
    ):
        self.conv = Conv(in_channels, 4 * out_channels, kernel=1, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "B h w C_in"]) -> Float[Array, "B 2*h 2*w C_out"]:
        """Maps (B, h, w, C_in) to (B, 2h, 2w, C_out)."""
        B, h, w, _ = x.shape
        x = self.conv(x).reshape(B, h, w, 2, 2, -1)
        return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * h, 2 * w, -1)
