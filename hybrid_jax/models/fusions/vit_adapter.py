"""`vit_adapter`: a ViT and a convolutional prior with exchanges (Chen et al., 2022).

    c_s = conv1x1(prior(x)_s)                             (B, H/s, W/s, D), s = 4, 8, 16, 32
    c   = tokens of c_8, c_16, c_32 + level embeddings    (B, M, D)
    z   = Patches_p(x) + positions                        (B, prefix + N, D)

and, for each group of the ViT's blocks,

    z <- z + gamma * Deformable(LN z -> LN c)             patch tokens; gamma starts at 0
    z <- the group's blocks(z)
    c <- c + Deformable(LN c -> LN z)                     and, after the last group,
    c <- c + ConvFFN(LN c)                                these two again, `extra` times

    maps[s] = to_stride(LN z) + norm(c_s)                 first c_4 += up(conv1x1(c_8))

The cost of deformable attention is linear in the number of cells. The class token and the
register tokens are only processed by the ViT, so that all its poolings can be used.

At initialization the features are the ViT's: gamma and the norm at the ViT's stride start
at zero. Differences to the paper: the prior is by default a complete ResNet; the ViT's map
is added after the norm instead of before; c_8 is added to c_4 by a 1x1 convolution and
upsampling instead of a transposed convolution; the adapter has no drop path.
"""

import functools

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from hybrid_jax.array_types import Array, Images, Maps, Tokens
from hybrid_jax.contracts import Features
from hybrid_jax.models.adapters.adapted_vit import AdaptedViT
from hybrid_jax.models.adapters.adapter_options import plan_adapter
from hybrid_jax.models.adapters.conv_ffn import ConvFFN
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.conv_norm import NormSpec
from hybrid_jax.models.layers.deformable import DeformableAttention, cell_centers_px
from hybrid_jax.models.layers.token_pyramid import JoinedPyramid, to_maps, to_tokens
from hybrid_jax.models.layers.transformer import LayerScale, layer_norm
from hybrid_jax.specs import ResNetSpec, ViTSpec

_NAME = "vit_adapter"


@FUSIONS.register("vit_adapter")
class ViTAdapter(AdaptedViT):
    """A plain ViT with injectors before and extractors after groups of its blocks.

    Args:
        prior: "resnet" (the ResNet's maps) or "stem" (only its root block, and three light
            convolutions on it: the paper's spatial prior module).
        num_interactions: number of groups of ViT blocks, at most the ViT's depth; None for
            4, or for the depth if that is less.
        extra: number of extra extractors after the last group.
        num_points: sampled points per query, head and map.
        deform_ratio: inner width of deformable attention, as a fraction of D; in the paper
            1.0 for ti and s, 0.5 for b and l.
        ffn_ratio: hidden width of the ConvFFN, as a fraction of D.
        sampling: "bilinear", or "discrete" (nearest cell), which gives no gradient to the
            offsets: for inference with weights trained with "bilinear".
    """

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
        prior: str = "resnet",
        num_interactions: int | None = None,
        extra: int = 2,
        num_points: int = 4,
        deform_ratio: float = 1.0,
        ffn_ratio: float = 0.25,
        sampling: str = "bilinear",
    ):
        plan = plan_adapter(
            _NAME,
            resnet_spec,
            vit_spec,
            prior=prior,
            num_interactions=num_interactions,
            extra=extra,
            num_points=num_points,
            deform_ratio=deform_ratio,
            ffn_ratio=ffn_ratio,
            sampling=sampling,
        )
        super().__init__(plan, vit_spec, image_size=image_size, rngs=rngs)
        deformable = functools.partial(
            DeformableAttention,
            vit_spec,
            query_dim=self.width,
            value_dim=self.width,
            dim=plan.deform_dim,
            num_heads=vit_spec.num_heads,
            num_points=num_points,
            sampling=sampling,
            rngs=rngs,
        )

        def extractor():
            ffn = ConvFFN(vit_spec, hidden_dim=plan.ffn_dim, rngs=rngs)
            return Extractor(vit_spec, deformable(levels=1), ffn, rngs=rngs)

        levels = len(plan.strides) - 1
        self.injectors = nnx.List(
            [Injector(vit_spec, deformable(levels=levels), rngs=rngs) for _ in self.groups]
        )
        self.extractors = nnx.List([extractor() for _ in range(len(self.groups) + extra)])
        self.join = JoinedPyramid(
            NormSpec.of(plan.resnet),
            strides=plan.strides,
            vit_stride=self.stride,
            width=self.width,
            rngs=rngs,
        )

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the joined maps and the ViT's pooled vector."""
        key = key if train else None
        maps = self.prior(self.resnet(images, train=train), train=train)
        finest, *coarser = maps
        shapes = {stride: hw_of(maps[stride]) for stride in coarser}
        tokens, hw = self.vit.embed_map(images, key=key)
        c = to_tokens({stride: maps[stride] for stride in coarser}).astype(tokens.dtype)
        at_c = np.concatenate([cell_centers_px(shapes[s], s) for s in coarser])
        at_z = cell_centers_px(hw, self.stride)
        last = len(self.groups) - 1
        for number, (injector, group) in enumerate(
            zip(self.injectors, self.groups, strict=True)
        ):
            read = injector(tokens[:, self.vit.prefix :], at_z, c, shapes)
            tokens = self.vit.add_to_patches(tokens, read)
            tokens = self.vit.run_blocks(group, tokens, hw=hw, key=key)
            stop = None if number == last else number + 1
            z = {self.stride: self.vit.to_map(tokens, hw=hw)}
            for extract in self.extractors[number:stop]:
                c = extract(c, at_c, shapes, z)
        tokens = self.vit.norm(tokens)
        maps = {finest: maps[finest]} | to_maps(c, shapes)
        maps = self.join(maps, self.vit.to_map(tokens, hw=hw), train=train)
        return Features(maps=maps, pooled=self.vit.pool_tokens(tokens))


class Injector(nnx.Module):
    """Attention from patch tokens to the prior's levels, times gamma, which starts at 0."""

    def __init__(self, spec: ViTSpec, attention: DeformableAttention, *, rngs):
        self.norm = layer_norm(spec, rngs=rngs)
        self.norm_prior = layer_norm(spec, rngs=rngs)
        self.attention = attention
        self.scale = LayerScale(spec.width, initial=0.0)

    def __call__(self, patches: Tokens, at_px, c: Float[Array, "B M D"], shapes) -> Tokens:
        """Maps patch tokens (B, N, D) centered at `at_px` to their update (B, N, D)."""
        levels = to_maps(self.norm_prior(c), shapes)
        return self.scale(self.attention(self.norm(patches), at_px, levels))


class Extractor(nnx.Module):
    """Attention from the prior's tokens to the ViT's map, then a ConvFFN."""

    def __init__(
        self, spec: ViTSpec, attention: DeformableAttention, ffn: ConvFFN, *, rngs
    ):
        self.norm = layer_norm(spec, rngs=rngs)
        self.norm_vit = layer_norm(spec, rngs=rngs)
        self.attention = attention
        self.norm_ffn = layer_norm(spec, rngs=rngs)
        self.ffn = ffn

    def __call__(self, c: Tokens, at_px, shapes, z: Maps) -> Tokens:
        """Maps tokens (B, M, D) centered at `at_px` to (B, M, D); `z` is {stride: map}."""
        z = {stride: self.norm_vit(x) for stride, x in z.items()}
        c = c + self.attention(self.norm(c), at_px, z)
        return c + self.ffn(self.norm_ffn(c), shapes)
