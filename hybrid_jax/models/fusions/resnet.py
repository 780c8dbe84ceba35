"""`resnet`: the plain ResNet, so that every table holds it (He et al., 2015)."""

import jax
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models import resnet
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("resnet")
class PlainResNet(nnx.Module):
    """Every stage's map; pooled is the mean of the last. The ViT spec is not used."""

    parts = ("resnet",)
    starts_as = "resnet"

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
    ):
        if not resnet_spec.blocks:
            raise UserError(
                "fusion 'resnet': the ResNet has no stages (size 'r' is a root block "
                "alone); choose r26, r50, r101 or r152."
            )
        self.resnet = resnet.ResNet(resnet_spec, rngs=rngs)
        self.channels = self.resnet.channels
        self.width = self.channels[max(self.channels)]

    def __call__(
        self, images: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to C2 to C5 and their last's mean."""
        maps = self.resnet(images, train=train)
        return Features(maps=maps, pooled=maps[max(maps)].mean((1, 2)))
