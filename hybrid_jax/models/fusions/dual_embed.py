"""`dual_embed`: ViT tokens from the image's patches and from a ResNet's map, merged.

    {C_s} = ResNet(x)                      (B, H/s, W/s, C_s)
    u = Patches_p(x) + positions           (B, N, D), one token per p x p pixels
    c = LayerNorm(Linear(C at stride p))   (B, N, D), the same cells
    z = ViT blocks(merge(u, c))            (B, N, D)

`merge` is one of the following, with Z a linear layer that starts at zero:

    add              u + Z(c)
    concat           u + Z([u; c])
    gated            u + sigmoid(Linear([u; c])) * Z(c)
    cross_attention  u + Z(Attention(LayerNorm(u) + P -> c + P)), P a fixed sincos table

All four start as the plain ViT, with random or pretrained weights. Related work: CeiT (Yuan
et al., 2021), whose tokens come only from convolutions, and CrossViT (Chen et al., 2021),
which merges two patch sizes. This fusion has no paper of its own.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.array_types import Images, Tokens
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.layers.cross_attention import CrossAttention
from hybrid_jax.models.layers.transformer import layer_norm, linear
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.positions import sincos2d
from hybrid_jax.ops.rescale import to_stride
from hybrid_jax.specs import ResNetSpec, ViTSpec

_zeros = nnx.initializers.zeros_init()


@FUSIONS.register("dual_embed")
class DualEmbed(nnx.Module):
    """A ViT whose patch tokens also contain a ResNet's features of the patch.

    The ViT reads the ResNet's map at the patch stride, or else the coarsest finer one,
    pooled. All maps of the ResNet are returned; the map at the patch stride is the ViT's. A
    head that reads only `pooled` gives no gradient to stages coarser than the patch stride:
    remove these stages with `resnet_options.blocks`.

    Args:
        merge: "add", "concat", "gated" or "cross_attention".
    """

    parts = ("resnet", "vit")
    starts_as = "vit"

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
        merge: str = "add",
    ):
        if merge not in MERGES:
            raise UserError(
                f"fusion 'dual_embed': merge: expected one of "
                f"{', '.join(map(repr, MERGES))}, got {merge!r}."
            )
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        self.stride = vit_spec.patch_size
        self.source = _stride_to_read(self.resnet.channels, self.stride)
        self.vit = ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        width = vit_spec.width
        self.project = linear(vit_spec, self.resnet.channels[self.source], width, rngs=rngs)
        self.norm = layer_norm(vit_spec, rngs=rngs)
        self.merge = MERGES[merge](vit_spec, rngs=rngs)
        channels = self.resnet.channels | {self.stride: width}
        self.channels = dict(sorted(channels.items()))
        self.width = width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the ResNet's maps, the ViT's map and its pooled vector."""
        key = key if train else None
        vit = self.vit
        maps = self.resnet(images, train=train)
        tokens, hw = vit.embed_map(images, key=key)
        cells = to_stride(maps[self.source], hw, old=self.source, new=self.stride)
        cells = cells.reshape(cells.shape[0], -1, cells.shape[-1])
        cells = self.norm(self.project(cells))
        change = self.merge(tokens[:, vit.prefix :], cells, hw=hw)
        tokens = vit.add_to_patches(tokens, change)
        tokens = vit.run_blocks(range(vit.spec.depth), tokens, hw=hw, key=key)
        tokens = vit.norm(tokens)
        maps = maps | {self.stride: vit.to_map(tokens, hw=hw)}
        return Features(maps=dict(sorted(maps.items())), pooled=vit.pool_tokens(tokens))


class Add(nnx.Module):
    """Z(c)."""

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.out = linear(spec, spec.width, spec.width, rngs=rngs, kernel_init=_zeros)

    def __call__(self, patches: Tokens, cells: Tokens, *, hw) -> Tokens:
        return self.out(cells)


class Concat(nnx.Module):
    """Z([u; c])."""

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.out = linear(spec, 2 * spec.width, spec.width, rngs=rngs, kernel_init=_zeros)

    def __call__(self, patches: Tokens, cells: Tokens, *, hw) -> Tokens:
        return self.out(jnp.concatenate([patches, cells], axis=-1))


class Gated(nnx.Module):
    """sigmoid(Linear([u; c])) * Z(c)."""

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.gate = linear(spec, 2 * spec.width, spec.width, rngs=rngs)
        self.out = linear(spec, spec.width, spec.width, rngs=rngs, kernel_init=_zeros)

    def __call__(self, patches: Tokens, cells: Tokens, *, hw) -> Tokens:
        gate = self.gate(jnp.concatenate([patches, cells], axis=-1))
        return jax.nn.sigmoid(gate) * self.out(cells)


class Attend(nnx.Module):
    """Z(Attention(LayerNorm(u) + P -> c + P)), from every patch to all cells."""

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        if spec.width % 4:
            raise UserError(
                f"fusion 'dual_embed': vit.width: expected a multiple of 4 for the sincos "
                f"table of merge='cross_attention', got {spec.width}."
            )
        self.norm = layer_norm(spec, rngs=rngs)
        self.attention = CrossAttention(
            spec,
            spec.width,
            spec.width,
            num_heads=spec.num_heads,
            zero_init=True,
            rngs=rngs,
        )

    def __call__(self, patches: Tokens, cells: Tokens, *, hw) -> Tokens:
        # Positions, so that a patch can find its own cell.
        table = jnp.asarray(sincos2d(hw, cells.shape[-1]), cells.dtype)
        table = table.reshape(1, -1, cells.shape[-1])
        return self.attention(self.norm(patches) + table, cells + table)


MERGES = {"add": Add, "concat": Concat, "gated": Gated, "cross_attention": Attend}


def _stride_to_read(channels: dict[int, int], patch_size: int) -> int:
    """Returns the coarsest stride that divides `patch_size`, or else its finest multiple.

    Raises:
        UserError: no stride divides the patch size or is a multiple of it.
    """
    finer = [stride for stride in channels if patch_size % stride == 0]
    coarser = [stride for stride in channels if stride % patch_size == 0]
    if not finer and not coarser:
        raise UserError(
            f"fusion 'dual_embed': vit.patch_size: expected a multiple or a divisor of "
            f"one of the ResNet's strides {tuple(channels)}, got {patch_size}."
        )
    return max(finer) if finer else min(coarser)
