"""`fpn_tokens`: all levels of a feature pyramid as one sequence of ViT tokens.

    C8, C16, C32 = ResNet(x)
    P_s = norm(conv3x3(norm(conv1x1(C_s)) + nearest x2 of the coarser))   (B, H/s, W/s, C)
    P64 = norm(conv3x3/2(C32)), with `extra_level`
    z_s = Linear(P_s) + level_s + positions_s              (B, h_s w_s, D)
    z   = ViT's blocks([cls; z_8; z_16; z_32])             (B, 1 + N, D)
    maps[s] = norm(z_s) as a map; the ResNet's map at strides without tokens

The pyramid is an FPN (Lin et al., 2016); the multi-level sequence is that of Deformable
DETR's encoder (Zhu et al., 2020), with the ViT's blocks as layers. Positions are the ViT's,
evaluated at the cells' centers in pixels, so that they agree across levels for any image
size: learned grids are resized to the image and sampled, sincos and rotary positions are
computed at the centers. Attention is one of

    full        all tokens to all: 1029 tokens at 224 px; a ViT/16 has 196
    windowed    inside windows of each level; full in every third block and the last
    deformable  a few sampled points on every level, as in Deformable DETR

With "deformable", only the class token uses the block's own attention, to all tokens,
because it has no reference point. Register tokens are not built, because nothing reads
them, and rotary positions are replaced by sincos. At initialization the features equal
those of neither part.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.array_types import Images
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.fpn import FPN
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.deformable import DeformableAttention, cell_centers_px
from hybrid_jax.models.layers.token_pyramid import to_maps, to_tokens
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.attention.deformable import SAMPLINGS
from hybrid_jax.ops.attention.dot_product import attention as attend_all
from hybrid_jax.ops.attention.windows import windowed_attention
from hybrid_jax.ops.positions import resize_grid, rope2d, sample_grid, sincos2d
from hybrid_jax.specs import ResNetSpec, ViTSpec

_normal = nnx.initializers.normal(0.02)
# With "windowed", blocks 3, 6, 9, ... and the last have full attention.
GLOBAL_EVERY = 3
_WHERE = "fusion 'fpn_tokens'"


@FUSIONS.register("fpn_tokens")
class FPNTokens(nnx.Module):
    """A ResNet, an FPN, and the blocks of a ViT on the cells of all its levels.

    Args:
        strides: strides whose cells become tokens, of 8, 16 and 32; None for all of them
            that the ResNet has. (16, 32) costs a quarter of all three at 224 px.
        extra_level: adds tokens at twice the ResNet's coarsest stride.
        channels: C inside the FPN.
        attention: "full", "windowed" or "deformable".
        window_size: side of a window in cells, for "windowed".
        num_points: sampled points per query, head and level, for "deformable".
        sampling: for "deformable": "bilinear", or "discrete" (nearest cell), which gives
            no gradient to the offsets: for inference with weights trained with "bilinear".
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
        strides: tuple[int, ...] | None = None,
        extra_level: bool = False,
        channels: int = 256,
        attention: str = "full",
        window_size: int = 7,
        num_points: int = 4,
        sampling: str = "bilinear",
    ):
        _check_choice("attention", attention, ("full", "windowed", "deformable"))
        _check_choice("sampling", sampling, SAMPLINGS)
        _check_counts(channels=channels, window_size=window_size, num_points=num_points)
        without = ()
        if attention == "deformable":
            vit_spec = _without_unused(vit_spec)
            # Only the class token uses the blocks' own attention.
            without = ("attention",) if vit_spec.pool != "cls" else ()
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        self.strides = _checked_strides(self.resnet.channels, strides)
        norm = NormSpec.of(resnet_spec)
        self.fpn = FPN(norm, self.resnet.channels, channels, levels=self.strides, rngs=rngs)
        coarsest = max(self.resnet.channels)
        last = (norm, self.resnet.channels[coarsest], channels)
        self.extra = (
            ConvNorm(*last, kernel=3, stride=2, activation=None, rngs=rngs)
            if extra_level
            else None
        )
        self.strides += (2 * coarsest,) if extra_level else ()
        self.vit = ViT(
            vit_spec,
            # The grid of a plain ViT, so that its pretrained positions fit unchanged.
            grid=grid_of(image_size, vit_spec.patch_size),
            in_channels=channels,
            patch_size=1,
            without=without,
            rngs=rngs,
        )
        shape = (len(self.strides), vit_spec.width)
        self.level = nnx.Param(_normal(rngs.params(), shape, jnp.float32))
        self.attention, self.window_size = attention, window_size
        self.deformable = (
            self._points_attention(num_points, sampling, rngs=rngs)
            if attention == "deformable"
            else None
        )
        self.channels = self.resnet.channels | dict.fromkeys(self.strides, vit_spec.width)
        self.width = vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the ResNet's finer maps, the token maps and `pooled`."""
        key = key if train else None
        maps = self.resnet(images, train=train)
        pyramid = self.fpn(maps, train=train)
        if self.extra is not None:
            pyramid[self.strides[-1]] = self.extra(maps[max(maps)], train=train)
        grids = {stride: hw_of(x) for stride, x in pyramid.items()}
        patch_size = self.vit.spec.patch_size
        h, w = grid_of(hw_of(images), patch_size)
        extent_px = h * patch_size, w * patch_size
        tokens = self._embed(pyramid, extent_px)
        tokens = self.vit.add_prefix(tokens, key=key)
        rotation = self._rotation(grids, extent_px)
        tokens = self._encode(tokens, grids, rotation=rotation, key=key)
        out = to_maps(tokens[:, self.vit.prefix :], grids)
        return Features(maps=maps | out, pooled=self.vit.pool_tokens(tokens))

    def _embed(
        self, pyramid: dict[int, jax.Array], extent_px: tuple[int, int]
    ) -> jax.Array:
        """Maps the pyramid to tokens (B, N, D), level by level, with their positions."""
        maps = {}
        for index, (stride, x) in enumerate(pyramid.items()):
            assert self.vit.embed is not None
            x = self.vit.embed(x)
            place = self._positions(hw_of(x), stride, extent_px) + self.level[index]
            maps[stride] = x + place.astype(x.dtype)
        return to_tokens(maps)

    def _positions(
        self, hw: tuple[int, int], stride: int, extent_px: tuple[int, int]
    ) -> jax.Array | np.ndarray:
        """Returns position embeddings (h, w, D), or zeros (1, 1, D), in float32.

        Args:
            extent_px: height and width in px that the patch grid of a ViT would cover.
        """
        spec = self.vit.spec
        if spec.positions == "rope2d":
            return np.zeros((1, 1, spec.width), np.float32)
        if spec.positions == "sincos2d":
            return sincos2d(hw, spec.width, spacing=stride / spec.patch_size)
        h, w = (side // spec.patch_size for side in extent_px)
        assert self.vit.position is not None
        grid = resize_grid(self.vit.position[...], (h, w), method=spec.position_resize)
        return sample_grid(grid, hw, extent=_in_cells(extent_px, stride))

    def _rotation(self, grids: dict[int, tuple[int, int]], extent_px: tuple[int, int]):
        spec = self.vit.spec
        if spec.positions != "rope2d":
            return None
        tables = [
            rope2d(hw, spec.width // spec.num_heads, extent=_in_cells(extent_px, stride))
            for stride, hw in grids.items()
        ]
        return tuple(np.concatenate(sides) for sides in zip(*tables, strict=True))

    def _encode(self, tokens, grids, *, rotation, key):
        """Applies the blocks and the last norm to (B, prefix + N, D)."""
        depth = self.vit.spec.depth
        if self.attention == "full":
            tokens = self.vit.run_blocks(range(depth), tokens, key=key, rotation=rotation)
            return self.vit.norm(tokens)
        for index in range(depth):
            attend = None
            if self.deformable is not None:
                attend = self._attend_points(self.deformable[index], grids)
            elif self.attention == "windowed":
                is_global = (index + 1) % GLOBAL_EVERY == 0 or index == depth - 1
                attend = None if is_global else self._attend_windows(grids, rotation)
            tokens = self.vit.run_block(
                index, tokens, key=key, rotation=rotation, attend=attend
            )
        return self.vit.norm(tokens)

    def _attend_windows(self, grids, rotation):
        def attend(attn, tokens):
            qkv = attn.project(tokens, rotation=rotation)
            y = windowed_attention(
                *qkv, grids=list(grids.values()), window_size=self.window_size
            )
            return attn.out(y.reshape(tokens.shape))

        return attend

    def _attend_points(self, deformable, grids):
        references_px = np.concatenate(
            [cell_centers_px(hw, stride) for stride, hw in grids.items()]
        )

        def attend(attn, tokens):
            queries = tokens[:, self.vit.prefix :]
            y = deformable(queries, references_px, to_maps(queries, grids))
            if not self.vit.prefix:
                return y
            query, key, value = attn.project(tokens)
            first = attend_all(query[:, : self.vit.prefix], key, value)
            first = attn.out(first.reshape(y.shape[0], self.vit.prefix, -1))
            return jnp.concatenate([first, y], axis=1)

        return attend

    def _points_attention(self, num_points: int, sampling: str, *, rngs) -> nnx.List:
        """Returns the deformable attention layers, one for each block."""
        spec = self.vit.spec
        modules = [
            DeformableAttention(
                spec,
                query_dim=spec.width,
                value_dim=spec.width,
                dim=spec.width,
                num_heads=spec.num_heads,
                levels=len(self.strides),
                num_points=num_points,
                sampling=sampling,
                rngs=rngs,
            )
            for _ in range(spec.depth)
        ]
        return nnx.List(modules)


def _without_unused(spec: ViTSpec) -> ViTSpec:
    """Returns the spec without register tokens and rotary positions."""
    positions = "sincos2d" if spec.positions == "rope2d" else spec.positions
    return dataclasses.replace(spec, num_register_tokens=0, positions=positions)


def _in_cells(extent_px: tuple[int, int], stride: int) -> tuple[float, float]:
    return extent_px[0] / stride, extent_px[1] / stride


def _checked_strides(channels: dict[int, int], wanted) -> tuple[int, ...]:
    """Returns the wanted strides, fine to coarse; None for all that the ResNet has."""
    where, given = f"{_WHERE}: strides", tuple(s for s in (8, 16, 32) if s in channels)
    if not given:
        raise UserError(
            f"{where}: expected a ResNet with a map at stride 8, 16 or 32, got one with "
            f"strides {tuple(channels)}."
        )
    if wanted is None:
        return given
    if not isinstance(wanted, tuple | list) or not wanted or set(wanted) - set(given):
        raise UserError(
            f"{where}: expected one or more of the ResNet's strides {given}, got {wanted}."
        )
    return tuple(sorted(set(wanted)))


def _check_choice(name, value, choices):
    if value not in choices:
        *most, last = map(repr, choices)
        expected = f"{', '.join(most)} or {last}"
        raise UserError(f"{_WHERE}: {name}: expected {expected}, got {value!r}.")


def _check_counts(**counts):
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{_WHERE}: {name}: expected 1 or more, got {count}.")
