"""`conformer`: a ResNet and a ViT, coupled block by block (Peng et al., 2021).

The blocks of both parts are split into the same number of units (the smaller number of
blocks). In each unit the ViT gets the inner features of the first bottleneck, and the next
bottleneck gets the tokens:

    F = ReLU(Norm(Conv3x3(F)))                        (B, H/s, W/s, C_s / 4)
    d = GELU(LayerNorm(Linear(resize(F, p))))         (B, N, D)
    z = ViT blocks of the unit(z, d added to the patch tokens)
    e = ReLU(Norm(Linear(patch tokens of z)))         (B, H/p, W/p, C_s' / 4)
    F' = F' + resize(e, s')                           before the next 3x3 convolution

Resizing to a coarser stride averages the cells inside the image; resizing to a finer stride
repeats cells and crops at the border. So images of any size are accepted.

Differences to the paper: tokens are embedded from the image instead of the stem's map and
have positions, so that pretrained ViT weights fit; a fourth stage (stride 32) is coupled
too; one head reads the pooled vectors of both branches, where the paper sums the logits of
two heads. A ResNet with blocks (8, 8, 8) and a ViT of depth 12 are coupled at the paper's
places.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from hybrid_jax.array_types import Array, Images, Map
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.block_shares import even_shares
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.transformer import gelu, layer_norm, linear
from hybrid_jax.models.options import check_has_stages
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.rescale import to_stride
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("conformer")
class Conformer(nnx.Module):
    """A complete ResNet and a complete ViT with exchanges after every few blocks.

    The maps are the ResNet's. The map at the patch stride also has the ViT's channels (or
    only these, if the ResNet has no map there). `pooled` concatenates the mean of the
    ResNet's last map and the ViT's pooled vector.
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
        self.stride = vit_spec.patch_size
        check_has_stages("conformer", resnet_spec)
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        _check(self.resnet.channels, self.stride)
        self.vit = ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        widths = [s.channels // 4 for s in self.resnet.stages for _ in s.blocks]
        self.reads = blocks_read(len(widths), vit_spec.depth)
        self.units = even_shares(vit_spec.depth, len(self.reads))
        self.downs = nnx.List([Down(vit_spec, widths[n], rngs=rngs) for n in self.reads])
        self.ups = nnx.List(
            [
                ConvNorm(NormSpec.of(resnet_spec), vit_spec.width, widths[n + 1], rngs=rngs)
                for n in self.reads
                if n + 1 < len(widths)
            ]
        )
        channels = self.resnet.channels
        both = channels.get(self.stride, 0) + vit_spec.width
        self.channels = dict(sorted((channels | {self.stride: both}).items()))
        self.width = channels[max(channels)] + vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the maps and the pooled vectors of both branches."""
        key = key if train else None
        tokens, hw = self.vit.embed_map(images, key=key)
        x, stride, maps, update = self.resnet.stem(images, train=train), 4, {}, None
        blocks = [(stage, block) for stage in self.resnet.stages for block in stage.blocks]
        for number, (stage, block) in enumerate(blocks):
            y = block.reduce(x, train=train)
            if update is not None:
                y = y + self._bring(update, hw_of(y), old=self.stride, new=stride)
            y = block.spatial(y, train=train)
            stride, update = stage.stride, None
            if number in self.reads:
                unit = self.reads.index(number)
                seen = self._bring(y, hw, old=stride, new=self.stride)
                tokens = self._run_unit(unit, tokens, seen, hw=hw, key=key)
                if unit < len(self.ups):
                    patches = self.vit.to_map(tokens, hw=hw)
                    update = self.ups[unit](patches, train=train)
            x = maps[stride] = block.expand(x, y, train=train)
        tokens = self.vit.norm(tokens)
        pooled = [x.mean((1, 2)), self.vit.pool_tokens(tokens)]
        at_stride = [maps[self.stride]] if self.stride in maps else []
        at_stride.append(self.vit.to_map(tokens, hw=hw))
        maps[self.stride] = jnp.concatenate(at_stride, axis=-1)
        return Features(
            maps=dict(sorted(maps.items())), pooled=jnp.concatenate(pooled, axis=-1)
        )

    def _bring(self, x, hw, *, old, new):
        return to_stride(x, hw, old=old, new=new, method="nearest")

    def _run_unit(self, unit, tokens, seen, *, hw, key):
        """Adds features (B, h, w, C) to the patch tokens and runs the unit's ViT blocks."""
        tokens = self.vit.add_to_patches(tokens, self.downs[unit](seen))
        return self.vit.run_blocks(self.units[unit], tokens, hw=hw, key=key)


class Down(nnx.Module):
    """GELU(LayerNorm(Linear(F))) of every cell.

    The paper applies the 1x1 convolution before the average pooling. Both are linear, so
    pooling first gives the same result with up to 16 times less work.
    """

    def __init__(self, spec: ViTSpec, channels: int, *, rngs: nnx.Rngs):
        self.project = linear(spec, channels, spec.width, rngs=rngs)
        self.norm = layer_norm(spec, rngs=rngs)
        self.gelu = gelu(spec)

    def __call__(self, x: Map) -> Float[Array, "B h w D"]:
        """Maps (B, h, w, C) to (B, h, w, D)."""
        return self.gelu(self.norm(self.project(x)))


def blocks_read(blocks: int, depth: int) -> tuple[int, ...]:
    """Returns the index of the first ResNet block of each unit, counted over all stages."""
    return tuple(share[0] for share in even_shares(blocks, min(blocks, depth)))


def _check(channels, patch_size):
    strides = tuple(sorted({4, *channels}))
    if any(patch_size % stride and stride % patch_size for stride in strides):
        raise UserError(
            f"fusion 'conformer': vit.patch_size: expected a multiple or a divisor of "
            f"each of the ResNet's strides {strides}, got {patch_size}."
        )
