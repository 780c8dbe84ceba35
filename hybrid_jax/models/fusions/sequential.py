"""`sequential`: the cells of a ResNet's last map are the tokens of a ViT.

    C = ResNet(x)              (B, H/s, W/s, C_s)
    z = Linear(C) + positions  (B, N, D), one token per cell

The hybrid of the ViT paper (Dosovitskiy et al., 2020) and of AugReg (Steiner et al., 2021).
For stride 16, stage 4 is removed and its blocks are added to stage 3, which keeps the
number of layers and makes the sequence four times as long: R50 has (3, 4, 9) blocks, R26
(2, 2, 4).
"""

import dataclasses

import jax
from flax import nnx

from hybrid_jax.array_types import Images
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("sequential")
class Sequential(nnx.Module):
    """ResNet stages, then transformer blocks on their output.

    Args:
        stride: px per token, the stride of one of the ResNet's stages. The blocks of
            coarser stages are added to the stage of this stride.
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
        stride: int = 16,
    ):
        blocks = blocks_for_stride(resnet_spec.blocks, stride)
        self.resnet = ResNet(dataclasses.replace(resnet_spec, blocks=blocks), rngs=rngs)
        at = max(self.resnet.channels)
        if at != stride:
            raise UserError(
                f"fusion 'sequential': stride: expected {at} or less, the ResNet's "
                f"output_stride, got {stride!r}."
            )
        self.vit = ViT(
            vit_spec,
            grid=grid_of(image_size, at),
            in_channels=self.resnet.channels[at],
            patch_size=1,
            rngs=rngs,
        )
        self.stride = at
        self.channels = self.resnet.channels | {at: vit_spec.width}
        self.width = vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the ResNet's finer maps and the ViT's token map."""
        maps = self.resnet(images, train=train)
        tokens, pooled = self.vit(maps[self.stride], train=train, key=key)
        return Features(maps=maps | {self.stride: tokens}, pooled=pooled)


def blocks_for_stride(blocks: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Moves the blocks of stages coarser than `stride` into the last stage kept.

    Raises:
        UserError: no stage has this stride.
    """
    strides = (4, 8, 16, 32)[: len(blocks)]
    if stride not in strides:
        raise UserError(
            f"fusion 'sequential': stride: expected one of the ResNet's strides "
            f"{strides or '(none; use the fusion conv_stem)'}, got {stride!r}."
        )
    kept = strides.index(stride) + 1
    return (*blocks[: kept - 1], sum(blocks[kept - 1 :]))
