"""`conv_stem`: a ResNet's root block before the patch embedding of a ViT.

    C = root(x)                      (B, H/4, W/4, 64)
    z = Patches_p(C) + positions     (B, N, D), one token per 4p x 4p pixels

With p = 8 this is AugReg's R+Ti/16 (Steiner et al., 2021), which has one token per 32 px in
spite of its name; p = 4 gives one token per 16 px.
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


@FUSIONS.register("conv_stem")
class ConvStem(nnx.Module):
    """The root block of a ResNet (without stages), then a ViT.

    Args:
        patch_size: cells of the stride-4 map per token and side; 2, 4 or 8.
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
        patch_size: int = 8,
    ):
        if patch_size not in (2, 4, 8):
            raise UserError(
                f"fusion 'conv_stem': patch_size: expected 2, 4 or 8, got {patch_size!r}."
            )
        self.resnet = ResNet(dataclasses.replace(resnet_spec, blocks=()), rngs=rngs)
        self.stride = 4 * patch_size
        self.vit = ViT(
            vit_spec,
            grid=grid_of(image_size, self.stride),
            in_channels=self.resnet.channels[4],
            patch_size=patch_size,
            rngs=rngs,
        )
        self.channels = self.resnet.channels | {self.stride: vit_spec.width}
        self.width = vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the root's map and the ViT's."""
        maps = self.resnet(images, train=train)
        tokens, pooled = self.vit(maps[4], train=train, key=key)
        return Features(maps=maps | {self.stride: tokens}, pooled=pooled)
