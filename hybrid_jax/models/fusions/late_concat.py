"""`late_concat`: a ResNet and a ViT without exchange, concatenated at the end.

    C_s = ResNet(x)                      (B, H/s, W/s, C_s), s = 4, 8, 16, 32
    Z, z = ViT(x)                        (B, H/p, W/p, D) and (B, D)
    map_s = [C_s, resize(Z, s)]          (B, H/s, W/s, C_s + D)
    pooled = [mean of C_32, z]           (B, C_32 + D)

The baseline of the two-branch fusions, as in the ablations of Conformer (Peng et al.,
2021): its gain over one part is that of an ensemble, without any exchange of features. At
initialization the features equal those of neither part, because the maps are wider.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.array_types import Images
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.options import check_has_stages
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.rescale import to_stride
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("late_concat")
class LateConcat(nnx.Module):
    """Channels of both parts, concatenated at every stride of the ResNet.

    It has no parameters of its own and no options. If the patch size is not a stride of the
    ResNet, the ViT's map is returned at that stride too.
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
    ):
        check_has_stages("late_concat", resnet_spec)
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        self.stride = vit_spec.patch_size
        self.vit = ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        for stride in self.resnet.channels:
            if stride % self.stride and self.stride % stride:
                raise UserError(
                    f"fusion 'late_concat': vit.patch_size: expected a multiple or a "
                    f"divisor of every stride of the ResNet "
                    f"({', '.join(map(str, self.resnet.channels))}), got "
                    f"{self.stride}."
                )
        channels = {s: c + vit_spec.width for s, c in self.resnet.channels.items()}
        channels.setdefault(self.stride, vit_spec.width)
        self.channels = dict(sorted(channels.items()))
        self.width = self.resnet.channels[max(self.resnet.channels)] + vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to both parts' maps and pooled vectors, concatenated."""
        local = self.resnet(images, train=train)
        tokens, pooled = self.vit(images, train=train, key=key)
        maps = {}
        for stride in self.channels:
            if stride not in local:
                maps[stride] = tokens
                continue
            C = local[stride]
            brought = to_stride(tokens, hw_of(C), old=self.stride, new=stride)
            maps[stride] = jnp.concatenate([C, brought], axis=-1)
        mean = local[max(local)].mean((1, 2))
        return Features(maps=maps, pooled=jnp.concatenate([mean, pooled], axis=-1))
