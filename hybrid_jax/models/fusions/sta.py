"""`sta`: spatial tuning adapter, ViT features and convolutional detail (DEIMv2, 2025).

    z_1, z_2, z_3 = normed tokens after 1/3, 2/3 and 3/3 of the ViT's blocks
    d_s           = detail(x) at stride s                 (B, H/s, W/s, C_s)
    maps[s]       = norm(conv1x1([to_stride(z_i); d_s]))  (B, H/s, W/s, channels)
    pooled        = [pooled of z_3; mean of maps[32]]     (B, D + channels)

for s = 8, 16, 32: the earliest tokens are used at the finest stride. The ViT's map is
upsampled bilinearly to finer strides and average-pooled to coarser ones. The two branches
are joined only by the 1x1 convolutions, which makes this one of the cheapest fusions.

`detail` is the ResNet's own stages, or DEIMv2's light branch: 3x3 convolutions with stride
2 on the root block. The map at stride 4 is that of the ResNet or its root block.

DEIMv2 is a detector. The second half of `pooled`, the mean of the coarsest joined map, is
added here so that a head that reads only `pooled` trains the detail branch too; it gives no
gradient to the joins at finer strides. A dilated ResNet gives fewer strides. At
initialization the features equal those of neither part.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.array_types import Images, Map, Maps
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.transformer import gelu
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.rescale import to_stride
from hybrid_jax.specs import ResNetSpec, ViTSpec

# Stride -> channels of the light branch, as in DEIMv2 (the root replaces its first layer).
LIGHT_CHANNELS = {8: 32, 16: 64, 32: 64}


@FUSIONS.register("sta")
class SpatialTuningAdapter(nnx.Module):
    """A ViT and a detail branch on the same image, joined once per stride.

    Args:
        detail: "resnet" (the ResNet's stages) or "light" (three convolutions on its root
            block; the stages are not built).
        channels: C of the joined maps; None for the ViT's width D. `pooled` has D + C
            channels.
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
        detail: str = "resnet",
        channels: int | None = None,
    ):
        _check(resnet_spec, vit_spec, detail=detail, channels=channels)
        self.stride = vit_spec.patch_size
        self.vit = ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        if detail == "light":
            resnet_spec = dataclasses.replace(resnet_spec, blocks=())
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        self.light = (
            LightDetail(resnet_spec, activation=gelu(vit_spec), rngs=rngs)
            if detail == "light"
            else None
        )
        detail_channels = self.resnet.channels if self.light is None else LIGHT_CHANNELS
        self.strides = tuple(s for s in detail_channels if s >= 8)
        channels = channels or vit_spec.width
        self.join = nnx.List(
            [
                ConvNorm(
                    NormSpec.of(resnet_spec),
                    vit_spec.width + detail_channels[stride],
                    channels,
                    activation=None,
                    rngs=rngs,
                )
                for stride in self.strides
            ]
        )
        self.taps = evenly_spaced(vit_spec.depth, len(self.strides))
        self.channels = {4: self.resnet.channels[4]} | dict.fromkeys(self.strides, channels)
        self.width = vit_spec.width + channels

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the joined maps and `pooled` (B, D + C)."""
        levels, pooled = self._vit_levels(images, key=key if train else None)
        maps = self.resnet(images, train=train)
        detail = maps if self.light is None else self.light(maps[4], train=train)
        out = {4: maps[4]}
        for stride, level, join in zip(self.strides, levels, self.join, strict=True):
            hw = hw_of(detail[stride])
            level = to_stride(level, hw, old=self.stride, new=stride)
            level = level.astype(detail[stride].dtype)
            joined = jnp.concatenate([level, detail[stride]], axis=-1)
            out[stride] = join(joined, train=train)
        mean = out[self.strides[-1]].mean((1, 2)).astype(pooled.dtype)
        return Features(maps=out, pooled=jnp.concatenate([pooled, mean], axis=-1))

    def _vit_levels(self, images, *, key):
        """Returns the normed maps after the tapped blocks, and the pooled vector."""
        tokens, hw = self.vit.embed_map(images, key=key)
        normed, first = [], 0
        for last in self.taps:
            blocks = range(first, last + 1)
            tokens = self.vit.run_blocks(blocks, tokens, hw=hw, key=key)
            normed.append(self.vit.norm(tokens))
            first = last + 1
        levels = [self.vit.to_map(level, hw=hw) for level in normed]
        return levels, self.vit.pool_tokens(normed[-1])


class LightDetail(nnx.Module):
    """3x3 convolutions with stride 2, norm and GELU, starting at stride 4."""

    def __init__(
        self,
        spec: ResNetSpec,
        *,
        activation: Callable[[jax.Array], jax.Array],
        rngs: nnx.Rngs,
    ):
        convs, in_channels = [], spec.width
        for channels in LIGHT_CHANNELS.values():
            convs.append(
                ConvNorm(
                    NormSpec.of(spec),
                    in_channels,
                    channels,
                    kernel=3,
                    stride=2,
                    activation=activation,
                    rngs=rngs,
                )
            )
            in_channels = channels
        self.convs = nnx.List(convs)

    def __call__(self, x: Map, *, train: bool) -> Maps:
        """Maps the root's map (B, H/4, W/4, C) to {8: ..., 16: ..., 32: ...}."""
        maps = {}
        for stride, conv in zip(LIGHT_CHANNELS, self.convs, strict=True):
            x = maps[stride] = conv(x, train=train)
        return maps


def evenly_spaced(depth: int, count: int) -> tuple[int, ...]:
    """Returns `count` evenly spaced block indices, the last of which is `depth` - 1.

    With fewer blocks than levels some indices appear twice.
    """
    return tuple(math.ceil(depth * (i + 1) / count) - 1 for i in range(count))


def _check(resnet_spec, vit_spec, *, detail, channels):
    where = "fusion 'sta'"
    if detail not in ("resnet", "light"):
        raise UserError(f"{where}: detail: expected 'resnet' or 'light', got {detail!r}.")
    coarse = len(resnet_spec.blocks) > 1 and resnet_spec.output_stride > 4
    if detail == "resnet" and not coarse:
        raise UserError(
            f"{where}: detail='resnet': expected a ResNet with a map of stride 8 or more, "
            f"got blocks {resnet_spec.blocks} and output_stride "
            f"{resnet_spec.output_stride}. Choose r26 or detail='light'."
        )
    if vit_spec.patch_size not in (4, 8, 16, 32):
        raise UserError(
            f"{where}: vit.patch_size: expected 4, 8, 16 or 32, got {vit_spec.patch_size}."
        )
    if channels is not None and channels < 1:
        raise UserError(f"{where}: channels: expected 1 or more, got {channels}.")
