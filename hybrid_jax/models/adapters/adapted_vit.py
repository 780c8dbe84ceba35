"""The base of ViT adapters: a ViT, a ResNet and a spatial prior."""

from flax import nnx

from hybrid_jax.models.adapters.adapter_options import AdapterPlan
from hybrid_jax.models.adapters.spatial_prior import SpatialPrior
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.specs import ViTSpec


class AdaptedViT(nnx.Module):
    """A ViT with its blocks in groups, and a spatial prior of the same width.

    Subclasses implement the exchange between the two. All returned maps have width D; the
    ViT's own map is the one at `stride`, its patch size. `pooled` is the ViT's pooled
    vector: a head that reads only `pooled` gives no gradient to the finest level and to
    everything after the last injection into the ViT (the last extractors, the joined maps).

    Args:
        plan: the adapter's options, checked.
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
