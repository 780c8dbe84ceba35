"""`resnet`: the plain ResNet (He et al., 2015), as a baseline."""

import jax
from flax import nnx

from hybrid_jax.array_types import Images
from hybrid_jax.contracts import Features
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.options import check_has_stages
from hybrid_jax.models.resnet import resnet
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("resnet")
class PlainResNet(nnx.Module):
    """Returns the map of every stage and the mean of the last. The ViT spec is not used."""

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
        check_has_stages("resnet", resnet_spec)
        self.resnet = resnet.ResNet(resnet_spec, rngs=rngs)
        self.channels = self.resnet.channels
        self.width = self.channels[max(self.channels)]

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the maps C2 to C5 and the mean of C5."""
        maps = self.resnet(images, train=train)
        return Features(maps=maps, pooled=maps[max(maps)].mean((1, 2)))
