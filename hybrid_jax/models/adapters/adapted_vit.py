"""What adapters of a ViT are built on: the ViT, a ResNet, and the levels of a prior."""

from flax import nnx

from hybrid_jax.models.adapters.adapter_options import AdapterPlan
from hybrid_jax.models.adapters.spatial_prior import SpatialPrior
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.specs import ViTSpec


class AdaptedViT(nnx.Module):
    """A ViT whose blocks are parted into groups, beside a spatial prior of its width.

    The exchange between the two is the subclass's. Every map it returns has width D; the
    ViT's own is the one at `stride`, its patch size. `pooled` is the ViT's: from a head
    that reads it alone, what follows the last answer to the ViT (the last readings of the
    levels, the joined maps) and the finest level get no gradient.

    Args:
        plan: of the adapter's options.
    """

    parts = ("resnet", "vit")
    starts_as = "vit"

    def __init__(
        self,
        plan: AdapterPlan,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
    ):
        self.groups = plan.groups
        self.stride, self.width = vit_spec.patch_size, vit_spec.width
        self.channels = dict.fromkeys(plan.strides, self.width)
        self.resnet = ResNet(plan.resnet, rngs=rngs)
        self.vit = ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        self.prior = SpatialPrior(
            plan.resnet,
            self.resnet.channels,
            strides=plan.strides,
            width=self.width,
            rngs=rngs,
        )
