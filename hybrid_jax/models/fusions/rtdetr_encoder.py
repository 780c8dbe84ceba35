"""`rtdetr_encoder`: attention on the coarsest map, convolutions across scales (2023).

    C3, C4, C5 = ResNet(x)                                 strides 8, 16, 32
    S_s = norm(conv1x1(C_s)), s < 32;  S_32 = norm(conv1x1(ViT(C5)))   (B, H/s, W/s, C)
    F_32 = S_32;  L_2s = silu(norm(conv1x1(F_2s)))
    F_s  = CSP([nearest x2 of L_2s; S_s])                  top-down
    N_8  = F_8;   N_2s = CSP([silu(norm(conv3x3/2(N_s))); L_2s])       bottom-up
    maps = C2, N_8, N_16, N_32

RT-DETR's hybrid encoder (Zhao et al., 2023). Its attention-based intra-scale feature
interaction (AIFI) consists here of the first blocks of the ViT, pre-norm and with the ViT's
own embedding and positions, on the cells of C5. In the CNN-based cross-scale fusion (CCFF),
`CSP` is the sum of two 1x1 branches, one of them followed by RepVGG blocks. With
norm="batch", folding for inference turns each of these into one 3x3 convolution
(`models/layers/folding.py`).

`pooled` is the mean of the coarsest N, to which all levels contribute. A dilated ResNet
gives fewer strides. At initialization the features equal those of neither part.
"""

import dataclasses
import functools

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
from hybrid_jax.models.layers.repvgg import CSPRepLayer
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.rescale import upsample
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("rtdetr_encoder")
class RTDETREncoder(nnx.Module):
    """A ResNet, a few transformer blocks on its last map, and a convolutional pyramid.

    Args:
        depth: transformer blocks on the coarsest map, instead of the ViT spec's depth.
        channels: C of the pyramid and width of `pooled`.
        csp_blocks: RepVGG blocks in each CSP layer.
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
        depth: int = 1,
        channels: int = 256,
        csp_blocks: int = 3,
    ):
        _check(resnet_spec, depth=depth, channels=channels, csp_blocks=csp_blocks)
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        self.strides = tuple(s for s in self.resnet.channels if s >= 8)
        self.vit = ViT(
            dataclasses.replace(vit_spec, depth=depth),
            grid=grid_of(image_size, self.strides[-1]),
            in_channels=self.resnet.channels[self.strides[-1]],
            patch_size=1,
            without=("pool",),
            rngs=rngs,
        )
        inputs = [self.resnet.channels[s] for s in self.strides[:-1]] + [vit_spec.width]
        norm = NormSpec.of(resnet_spec)
        conv = functools.partial(ConvNorm, norm, rngs=rngs)
        self.project = nnx.List([conv(C, channels, activation=None) for C in inputs])
        self.pyramid = CrossScale(
            norm,
            channels,
            strides=self.strides,
            csp_blocks=csp_blocks,
            rngs=rngs,
        )
        self.channels = {4: self.resnet.channels[4]} | dict.fromkeys(self.strides, channels)
        self.width = channels

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to C2, the pyramid and the mean of its coarsest map."""
        maps = self.resnet(images, train=train)
        levels = [maps[stride] for stride in self.strides]
        levels[-1] = self._attend(levels[-1], key=key if train else None)
        levels = [
            project(level, train=train)
            for project, level in zip(self.project, levels, strict=True)
        ]
        levels = self.pyramid(levels, train=train)
        out = {4: maps[4]} | dict(zip(self.strides, levels, strict=True))
        return Features(maps=out, pooled=levels[-1].mean((1, 2)))

    def _attend(self, x: Map, *, key: jax.Array | None) -> Float[Array, "B h w D"]:
        """Applies the ViT's blocks to the cells of (B, h, w, C); returns (B, h, w, D)."""
        tokens, hw = self.vit.embed_map(x, key=key)
        tokens = self.vit.run_blocks(range(self.vit.spec.depth), tokens, hw=hw, key=key)
        return self.vit.to_map(self.vit.norm(tokens), hw=hw)


class CrossScale(nnx.Module):
    """A top-down and a bottom-up path over levels of equal channels (CCFF)."""

    def __init__(
        self,
        norm: NormSpec,
        channels: int,
        *,
        strides: tuple[int, ...],
        csp_blocks: int,
        rngs: nnx.Rngs,
    ):
        silu = functools.partial(
            ConvNorm, norm, channels, channels, activation=jax.nn.silu, rngs=rngs
        )
        csp = functools.partial(
            CSPRepLayer, norm, 2 * channels, channels, blocks=csp_blocks, rngs=rngs
        )
        self.factors = tuple(b // a for a, b in zip(strides[:-1], strides[1:], strict=True))
        self.lateral = nnx.List([silu() for _ in self.factors])
        self.down = nnx.List([csp() for _ in self.factors])
        self.coarsen = nnx.List([silu(kernel=3, stride=2) for _ in self.factors])
        self.up = nnx.List([csp() for _ in self.factors])

    def __call__(
        self, levels: list[Float[Array, "B _h _w C"]], *, train: bool
    ) -> list[Float[Array, "B _h _w C"]]:
        """Maps levels (B, h, w, C), fine to coarse, to levels of the same shapes."""
        fused = list(levels)
        for fine in reversed(range(len(self.factors))):
            # The bottom-up path concatenates this lateral map, not its input.
            fused[fine + 1] = self.lateral[fine](fused[fine + 1], train=train)
            above = upsample(
                fused[fine + 1],
                hw_of(fused[fine]),
                factor=self.factors[fine],
                method="nearest",
            )
            both = jnp.concatenate([above, fused[fine]], axis=-1)
            fused[fine] = self.down[fine](both, train=train)
        for fine in range(len(self.factors)):
            below = self.coarsen[fine](fused[fine], train=train)
            both = jnp.concatenate([below, fused[fine + 1]], axis=-1)
            fused[fine + 1] = self.up[fine](both, train=train)
        return fused


def _check(resnet_spec, **counts):
    where = "fusion 'rtdetr_encoder'"
    if len(resnet_spec.blocks) < 2 or resnet_spec.output_stride < 8:
        raise UserError(
            f"{where}: resnet: expected a map of stride 8 or more, got blocks "
            f"{resnet_spec.blocks} and output_stride {resnet_spec.output_stride}. "
            f"Choose r26, r50, r101 or r152."
        )
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{where}: {name}: expected 1 or more, got {count}.")
