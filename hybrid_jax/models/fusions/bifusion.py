"""`bifusion`: two complete backbones, fused by gates at three scales (TransFuse, 2021).

    g_s = ResNet(x)                              (B, H/s, W/s, C_s), s = 4, 8, 16
    t_p = ViT(x), normed                         (B, H/p, W/p, D)
    t_s = Up(t_2s) for s < p, mean of cells for s >= p

and at every scale a BiFusion block, with a spatial gate on the ResNet's map and a channel
gate on the ViT's:

    G = sigmoid(Conv7x7([max of g, mean of g])) * g     max and mean over channels
    T = sigmoid(Linear(relu(Linear(mean of t)))) * t    mean over cells
    b = Conv3x3(Conv1x1(g) * Conv1x1(t))                (B, H/s, W/s, F_s)
    f_s = relu(Conv1x1([G, T, b]) + Conv1x1(Conv3x3(Conv1x1([G, T, b]))))

Zhang, Liu & Hu (2021). A norm follows every Conv but the 7x7. F_s is the inner width of the
ResNet's stage (64, 128, 256 for R26 and R50, as in the paper's ResNet-34). Up is bilinear
upsampling and two 3x3 convolutions to F_s channels. The last line is a bottleneck with norm
and ReLU after each convolution; the paper's residual block has them before each convolution
(pre-activation). The paper's decoder and its losses on three maps are left to a head. Both
parts are unchanged, so pretrained weights of both can be loaded. At initialization the
features equal those of neither part.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from hybrid_jax.array_types import Array, Images, Map
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.transformer import linear
from hybrid_jax.models.options import check_has_stages
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.rescale import to_stride, upsample
from hybrid_jax.specs import Dtype, ResNetSpec, ViTSpec


class Up(nnx.Module):
    """Bilinear upsampling and two 3x3 convolutions.

    Args:
        factor: old stride over new.
    """

    def __init__(
        self,
        norm: NormSpec,
        in_channels: int,
        out_channels: int,
        *,
        factor: int,
        rngs: nnx.Rngs,
    ):
        self.conv1 = ConvNorm(norm, in_channels, out_channels, kernel=3, rngs=rngs)
        self.conv2 = ConvNorm(norm, out_channels, out_channels, kernel=3, rngs=rngs)
        self.factor = factor

    def __call__(
        self, x: Float[Array, "B h w C_in"], hw: tuple[int, int], *, train: bool
    ) -> Float[Array, "B {hw[0]} {hw[1]} C_out"]:
        """Maps (B, h, w, C_in) to (B, *hw, C_out)."""
        x = upsample(x, hw, factor=self.factor)
        return self.conv2(self.conv1(x, train=train), train=train)


class SpatialGate(nnx.Module):
    """Gates every cell by the maximum and the mean of its channels (CBAM, 2018)."""

    def __init__(self, *, dtype: Dtype, rngs: nnx.Rngs):
        # A bias instead of the paper's BatchNorm: a GroupNorm of one channel would remove
        # the mean activation of the image from the gate.
        self.conv = Conv(
            2, 1, kernel=7, padding="centered", use_bias=True, dtype=dtype, rngs=rngs
        )

    def __call__(self, x: Map) -> Map:
        """Maps (B, h, w, C) to the same, gated."""
        # Not x.max(-1): its gradient compares the channels with the maximum. If XLA
        # recomputes the map with other rounding, no channel is equal and the gradient is
        # 0 / 0.
        largest = jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=x.dtype)
        reading = jnp.stack([(x * largest).sum(-1), x.mean(-1)], axis=-1)
        return x * jax.nn.sigmoid(self.conv(reading))


class ChannelGate(nnx.Module):
    """Gates every channel by the means of all channels (Squeeze-and-Excitation, 2018).

    Args:
        reduction: C divided by the inner width.
    """

    def __init__(self, spec: ViTSpec, channels: int, *, reduction: int, rngs: nnx.Rngs):
        inner = max(channels // reduction, 1)
        self.fc1 = linear(spec, channels, inner, rngs=rngs)
        self.fc2 = linear(spec, inner, channels, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """Maps (B, h, w, C) to the same, gated."""
        gate = self.fc2(jax.nn.relu(self.fc1(x.mean((1, 2)))))
        return x * jax.nn.sigmoid(gate)[:, None, None]


class Residual(nnx.Module):
    """A bottleneck with half the output's width and a projection shortcut."""

    def __init__(
        self, norm: NormSpec, in_channels: int, out_channels: int, *, rngs: nnx.Rngs
    ):
        inner = out_channels // 2
        self.conv1 = ConvNorm(norm, in_channels, inner, rngs=rngs)
        self.conv2 = ConvNorm(norm, inner, inner, kernel=3, rngs=rngs)
        self.conv3 = ConvNorm(norm, inner, out_channels, activation=None, rngs=rngs)
        self.shortcut = ConvNorm(
            norm, in_channels, out_channels, activation=None, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "B h w C_in"], *, train: bool
    ) -> Float[Array, "B h w C_out"]:
        """Maps (B, h, w, C_in) to (B, h, w, C_out)."""
        y = self.conv2(self.conv1(x, train=train), train=train)
        y = self.conv3(y, train=train)
        return jax.nn.relu(y + self.shortcut(x, train=train))


class BiFusion(nnx.Module):
    """The fusion at one scale: both gated maps and their product, merged into one map.

    Args:
        resnet_channels: C of g.
        vit_channels: C of t.
        width: channels of the product and of the result.
        reduction: of the ViT's channel gate.
    """

    def __init__(
        self,
        norm: NormSpec,
        vit_spec: ViTSpec,
        *,
        resnet_channels: int,
        vit_channels: int,
        width: int,
        reduction: int,
        rngs: nnx.Rngs,
    ):
        self.by_place = SpatialGate(dtype=norm.dtype, rngs=rngs)
        self.by_channel = ChannelGate(
            vit_spec, vit_channels, reduction=reduction, rngs=rngs
        )
        self.of_resnet, self.of_vit = (
            ConvNorm(norm, channels, width, activation=None, rngs=rngs)
            for channels in (resnet_channels, vit_channels)
        )
        self.product = ConvNorm(norm, width, width, kernel=3, rngs=rngs)
        self.residual = Residual(
            norm, resnet_channels + vit_channels + width, width, rngs=rngs
        )

    def __call__(
        self,
        g: Float[Array, "B h w C_g"],
        t: Float[Array, "B h w C_t"],
        *,
        train: bool,
    ) -> Float[Array, "B h w width"]:
        """Maps g (B, h, w, C_g) and t (B, h, w, C_t) to (B, h, w, width)."""
        product = self.of_resnet(g, train=train) * self.of_vit(t, train=train)
        product = self.product(product, train=train)
        joined = jnp.concatenate([self.by_place(g), self.by_channel(t), product], axis=-1)
        return self.residual(joined, train=train)


@FUSIONS.register("bifusion")
class BiFusedBackbones(nnx.Module):
    """A ResNet and a ViT on the same image, fused at several strides.

    `pooled` concatenates the mean of the ResNet's last map, the ViT's pooled vector and the
    mean of the coarsest fused map: a head that reads only `pooled` gives no gradient to the
    finer fusions. The other maps are the ResNet's.

    Args:
        strides: strides of the ResNet at which the two are fused; None for its finest three
            (4, 8 and 16).
    """

    parts = ("resnet", "vit")
    starts_as = None

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
        strides: Sequence[int] | None = None,
    ):
        check_has_stages("bifusion", resnet_spec)
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        self.stride = vit_spec.patch_size
        self.strides = _coarse_to_fine(
            strides, given=tuple(self.resnet.channels), patch_size=self.stride
        )
        self.vit = ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        self.channels = dict(self.resnet.channels)
        ups, fusions = [], []
        at, channels = self.stride, vit_spec.width
        norm = NormSpec.of(resnet_spec)
        for number, stride in enumerate(self.strides):
            width = self.resnet.channels[stride] // 4
            factor = at // stride
            if factor > 1:
                ups.append(Up(norm, channels, width, factor=factor, rngs=rngs))
                at, channels = stride, width
            fusions.append(
                BiFusion(
                    norm,
                    vit_spec,
                    resnet_channels=self.resnet.channels[stride],
                    vit_channels=channels,
                    width=width,
                    reduction=max(4 >> number, 1),  # the paper's 4, 2, 1
                    rngs=rngs,
                )
            )
            self.channels[stride] = width
        self.ups, self.fusions = nnx.List(ups), nnx.List(fusions)
        coarsest = self.resnet.channels[max(self.resnet.channels)]
        self.width = coarsest + vit_spec.width + self.channels[self.strides[0]]

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the fused maps, the ResNet's other maps, and `pooled`."""
        maps = self.resnet(images, train=train)
        tokens, pooled = self.vit(images, train=train, key=key)
        mean = maps[max(maps)].mean((1, 2))
        ups, t = iter(self.ups), tokens
        for stride, fusion in zip(self.strides, self.fusions, strict=True):
            g = maps[stride]
            if stride < self.stride:
                t = next(ups)(t, hw_of(g), train=train)
                brought = t
            else:
                brought = to_stride(t, hw_of(g), old=self.stride, new=stride)
            maps[stride] = fusion(g, brought, train=train)
        fused = maps[self.strides[0]].mean((1, 2))
        return Features(maps=maps, pooled=jnp.concatenate([mean, pooled, fused], axis=-1))


def _coarse_to_fine(
    strides: Sequence[int] | None, *, given: tuple[int, ...], patch_size: int
) -> tuple[int, ...]:
    """Checks the strides to fuse at and returns them, coarse to fine."""
    chosen = given[:3] if strides is None else tuple(strides)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(given):
        raise UserError(
            f"fusion 'bifusion': strides: expected one or more of the ResNet's strides "
            f"({', '.join(map(str, given))}), each once, got {chosen}."
        )
    for stride in chosen:
        if stride % patch_size and patch_size % stride:
            raise UserError(
                f"fusion 'bifusion': vit.patch_size: expected a multiple or a divisor of "
                f"every fused stride ({', '.join(map(str, chosen))}), got {patch_size}."
            )
    return tuple(sorted(chosen, reverse=True))
