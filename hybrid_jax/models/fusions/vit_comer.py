"""`vit_comer`: a ViT and convolutional levels with exchanges (Xia et al., 2024).

    c_s = conv1x1(prior(x)_s)                             (B, H/s, W/s, D), s = 4, 8, 16, 32
    c   = tokens of c_8, c_16, c_32 + level embeddings    (B, M, D)
    z   = Patches_p(x) + positions                        (B, prefix + N, D)

and, for each group of the ViT's blocks,

    c <- c + MRFP(LN c)                                   3x3 and 5x5 depthwise, see below
    u  = Mix(c with z added to c_p)
    z <- z + gamma * sum over s of to_stride(u_s)         patch tokens; gamma starts at 0
    z <- the group's blocks(z)
    c <- Mix(c with z added to c_p)                       after the last group `extra` times
                                                          more
    maps[s] = to_stride(LN z) + norm(c_s)                 first c_4 += up(conv1x1(c_8))

Mix is attention among the levels: c + Deformable(LN c -> LN c), then c + ConvFFN(LN c).
MRFP is linear, depthwise convolution, norm, GELU, linear; half of its hidden channels have
3x3 kernels and half 5x5, with separate kernels for each level. The class token and the
register tokens are only processed by the ViT.

At initialization the features are the ViT's: gamma and the norm at the ViT's stride start
at zero. Differences to the paper: the prior is by default a complete ResNet; MRFP has a
LayerNorm and a residual connection; the ViT's map is added after the norm instead of
before; c_8 is added to c_4 by a 1x1 convolution and upsampling instead of a transposed
convolution; the adapter has no drop path.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.array_types import Images, Tokens
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.adapters.adapted_vit import AdaptedViT
from hybrid_jax.models.adapters.adapter_options import plan_adapter
from hybrid_jax.models.adapters.conv_ffn import ConvFFN
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.deformable import DeformableAttention, cell_centers_px
from hybrid_jax.models.layers.token_pyramid import (
    JoinedPyramid,
    add_to_level,
    to_maps,
    to_tokens,
)
from hybrid_jax.models.layers.transformer import LayerScale, gelu, layer_norm, linear
from hybrid_jax.ops.rescale import to_stride
from hybrid_jax.specs import ResNetSpec, ViTSpec

_NAME = "vit_comer"


@FUSIONS.register("vit_comer")
class ViTCoMer(AdaptedViT):
    """A plain ViT with exchanges between groups of its blocks and the levels of a prior.

    Args:
        prior: "resnet" (the ResNet's maps) or "stem" (only its root block, and three light
            convolutions on it, as in the paper).
        num_interactions: number of groups of ViT blocks, at most the ViT's depth; None for
            4, or for the depth if that is less.
        extra: number of extra `Mix` blocks after the last group.
        num_points: sampled points per query, head and map.
        deform_ratio: inner width of deformable attention, as a fraction of D.
        ffn_ratio: hidden width of the ConvFFN, as a fraction of D.
        mrfp_ratio: hidden width of MRFP, as a fraction of D.
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
        extra: int = 4,
        num_points: int = 4,
        deform_ratio: float = 1.0,
        ffn_ratio: float = 0.25,
        mrfp_ratio: float = 0.5,
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
        levels = plan.strides[1:]
        _check(vit_spec, levels=levels, mrfp_ratio=mrfp_ratio)
        super().__init__(plan, vit_spec, image_size=image_size, rngs=rngs)
        norm = NormSpec.of(plan.resnet)
        mix = functools.partial(
            Mix,
            vit_spec,
            dim=plan.deform_dim,
            ffn_dim=plan.ffn_dim,
            levels=len(levels),
            num_points=num_points,
            sampling=sampling,
            rngs=rngs,
        )
        self.mrfp = nnx.List(
            [MRFP(norm, vit_spec, levels, ratio=mrfp_ratio, rngs=rngs) for _ in self.groups]
        )
        self.to_vit = nnx.List([mix() for _ in self.groups])
        self.scales = nnx.List([LayerScale(self.width, initial=0.0) for _ in self.groups])
        self.to_levels = nnx.List([mix() for _ in range(len(self.groups) + extra)])
        self.join = JoinedPyramid(
            norm,
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
        finest, *levels = maps
        shapes = {stride: hw_of(maps[stride]) for stride in levels}
        tokens, hw = self.vit.embed_map(images, key=key)
        c = to_tokens({stride: maps[stride] for stride in levels}).astype(tokens.dtype)
        at_px = np.concatenate([cell_centers_px(shapes[s], s) for s in levels])
        add = functools.partial(add_to_level, shapes=shapes, stride=self.stride)
        last = len(self.groups) - 1
        for number, group in enumerate(self.groups):
            c = self.mrfp[number](c, shapes, train=train)
            u = add(c, self.vit.to_map(tokens, hw=hw))
            u = to_maps(self.to_vit[number](u, at_px, shapes), shapes)
            at_vit = (to_stride(x, hw, old=s, new=self.stride) for s, x in u.items())
            u = functools.reduce(operator.add, at_vit)
            tokens = self.vit.add_to_patches(tokens, self.scales[number](u))
            tokens = self.vit.run_blocks(group, tokens, hw=hw, key=key)
            z = self.vit.to_map(tokens, hw=hw)
            stop = None if number == last else number + 1
            for mix in self.to_levels[number:stop]:
                c = mix(add(c, z), at_px, shapes)
        tokens = self.vit.norm(tokens)
        maps = {finest: maps[finest]} | to_maps(c, shapes)
        maps = self.join(maps, self.vit.to_map(tokens, hw=hw), train=train)
        return Features(maps=maps, pooled=self.vit.pool_tokens(tokens))


class MRFP(nnx.Module):
    """Multi-receptive-field feature pyramid: 3x3 and 5x5 depthwise convolutions.

    Args:
        norm: of the convolutions.
        vit: gives D and the linear layers.
        strides: strides of the levels; each level has its own kernels.
        ratio: hidden width as a fraction of D; rounded to an even number.
    """

    def __init__(self, norm: NormSpec, vit: ViTSpec, strides, *, ratio, rngs):
        half = round(vit.width * ratio) // 2
        self.norm = layer_norm(vit, rngs=rngs)
        # No bias: batch norm subtracts the mean of each channel, which would cancel it.
        self.fc1 = Conv(vit.width, 2 * half, kernel=1, dtype=vit.dtype, rngs=rngs)
        conv = functools.partial(
            ConvNorm,
            norm,
            half,
            half,
            groups=half,
            activation=gelu(vit),
            rngs=rngs,
        )
        self.near = nnx.List([conv(kernel=3) for _ in strides])
        self.far = nnx.List([conv(kernel=5) for _ in strides])
        self.fc2 = linear(vit, 2 * half, vit.width, rngs=rngs)

    def __call__(self, c: Tokens, shapes, *, train: bool) -> Tokens:
        """Maps tokens (B, M, D) to (B, M, D); `shapes` has the (h, w) of each stride."""
        maps, mixed = to_maps(self.norm(c), shapes), {}
        for (stride, x), near, far in zip(maps.items(), self.near, self.far, strict=True):
            first, second = jnp.split(self.fc1(x), 2, axis=-1)
            halves = near(first, train=train), far(second, train=train)
            mixed[stride] = jnp.concatenate(halves, axis=-1)
        return c + self.fc2(to_tokens(mixed)).astype(c.dtype)


class Mix(nnx.Module):
    """Deformable attention among the levels, then a ConvFFN."""

    def __init__(
        self,
        spec: ViTSpec,
        *,
        dim: int,
        ffn_dim: int,
        levels: int,
        num_points: int,
        sampling: str,
        rngs: nnx.Rngs,
    ):
        self.norm = layer_norm(spec, rngs=rngs)
        self.attention = DeformableAttention(
            spec,
            query_dim=spec.width,
            value_dim=spec.width,
            dim=dim,
            num_heads=spec.num_heads,
            levels=levels,
            num_points=num_points,
            sampling=sampling,
            rngs=rngs,
        )
        self.norm_ffn = layer_norm(spec, rngs=rngs)
        self.ffn = ConvFFN(spec, hidden_dim=ffn_dim, rngs=rngs)

    def __call__(self, c: Tokens, at_px: np.ndarray, shapes) -> Tokens:
        """Maps tokens (B, M, D) centered at `at_px` to (B, M, D)."""
        normed = self.norm(c)
        c = c + self.attention(normed, at_px, to_maps(normed, shapes))
        return c + self.ffn(self.norm_ffn(c), shapes)


def _check(vit_spec: ViTSpec, *, levels: tuple[int, ...], mrfp_ratio: float) -> None:
    if vit_spec.patch_size not in levels:
        raise UserError(
            f"fusion '{_NAME}': vit.patch_size: expected one of the strides {levels} of "
            f"its levels, got {vit_spec.patch_size}."
        )
    if round(vit_spec.width * mrfp_ratio) < 2:
        raise UserError(
            f"fusion '{_NAME}': mrfp_ratio: expected a fraction of the width "
            f"{vit_spec.width} that gives at least 2 hidden units, got {mrfp_ratio}."
        )
