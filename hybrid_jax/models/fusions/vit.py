"""`vit`: the plain ViT (Dosovitskiy et al., 2020), as a baseline."""

import jax
from flax import nnx

from hybrid_jax.array_types import Images
from hybrid_jax.contracts import Features
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.vit import vit
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("vit")
class PlainViT(nnx.Module):
    """Returns one map at the patch stride. The ResNet spec is not used."""

    parts = ("vit",)
    starts_as = "vit"

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
    ):
        self.stride = vit_spec.patch_size
        self.vit = vit.ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        self.channels = {self.stride: vit_spec.width}
        self.width = vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to one map and the pooled vector."""
        tokens, pooled = self.vit(images, train=train, key=key)
        return Features(maps={self.stride: tokens}, pooled=pooled)
