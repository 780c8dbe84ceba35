"""`fpn_tokens`: all levels of a ResNet's pyramid as one sequence of ViT tokens.

    C8, C16, C32 = ResNet(x)
    P_s = norm(conv3x3(norm(conv1x1(C_s)) + nearest x2 of the coarser))   (B, H/s, W/s, C)
    P64 = norm(conv3x3/2(C32)), if asked for
    z_s = Linear(P_s) + level_s + positions_s              (B, h_s w_s, D)
    z   = ViT's blocks([cls; z_8; z_16; z_32])             (B, 1 + N, D)
    maps[s] = norm(z_s) as a map; the ResNet's map at strides without tokens

The top-down half is an FPN (Lin et al., 2016), the sequence Deformable DETR's encoder
(Zhu et al., 2020) with the ViT's blocks for layers. Positions are the ViT's, read at the
cells' centers in pixels, so that all levels agree on a place whatever the image's size:
learned grids are fitted to the image as a ViT's and sampled, sines are taken there,
rotations turn by place relative to the image's whole patches. Attention is

    full        all tokens to all: 1029 tokens at 224 px, five times a ViT/16's 196
    windowed    inside windows of each level; in every third block and the last, full
    deformable  a few points on every level, as in the paper (`models.deformable`)

Under "deformable" only the class token keeps the block's own attention, to all tokens: a
query without a place has no points to look at. Registers are left out, since nothing would
read them, and rotations are replaced by sines. It starts as neither part.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.fpn import FPN
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.layers.conv_norm import ConvNorm
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
# Under "windowed", blocks 3, 6, 9, ... and the last attend across windows and levels.
GLOBAL_EVERY = 3
_WHERE = "fusion 'fpn_tokens'"


@FUSIONS.register("fpn_tokens")
class FPNTokens(nnx.Module):
    """A ResNet, an FPN, and a ViT's blocks over the cells of all its levels.

    Args:
        levels: strides that become tokens, of 8, 16 and 32; None for all of them that
            the ResNet has. (16, 32) costs a quarter of all three at 224 px.
        extra_level: adds tokens at twice the ResNet's coarsest stride.
        channels: C inside the FPN.
        attention: "full", "windowed" or "deformable".
        window: cells per window and side under "windowed".
        points: per query, head and level under "deformable".
        sampling: under "deformable", "bilinear"; "discrete" reads the nearest cell, for
            inference with weights trained bilinearly (the offsets get no gradient).
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
        levels: tuple[int, ...] | None = None,
        extra_level: bool = False,
        channels: int = 256,
        attention: str = "full",
        window: int = 7,
        points: int = 4,
        sampling: str = "bilinear",
    ):
        _check_choice("attention", attention, ("full", "windowed", "deformable"))
        _check_choice("sampling", sampling, SAMPLINGS)
        _check_counts(channels=channels, window=window, points=points)
        without = ()
        if attention == "deformable":
            vit_spec = _without_unused(vit_spec)
            # All that is left to the blocks' own attention is the class token.
            without = ("attention",) if vit_spec.pool != "cls" else ()
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        self.levels = _levels_of(self.resnet.channels, levels)
        self.fpn = FPN(
            resnet_spec, self.resnet.channels, channels, levels=self.levels, rngs=rngs
        )
        coarsest = max(self.resnet.channels)
        last = (resnet_spec, self.resnet.channels[coarsest], channels)
        self.extra = (
            ConvNorm(*last, kernel=3, stride=2, activation=None, rngs=rngs)
            if extra_level
            else None
        )
        self.levels += (2 * coarsest,) if extra_level else ()
        self.vit = ViT(
            vit_spec,
            # The patch stride's grid, so that a ViT's learned positions fit as they are.
            grid=grid_of(image_size, vit_spec.patch_size),
            in_channels=channels,
            patch_size=1,
            without=without,
            rngs=rngs,
        )
        shape = (len(self.levels), vit_spec.width)
        self.level = nnx.Param(_normal(rngs.params(), shape, jnp.float32))
        self.attention, self.window = attention, window
        self.deformable = (
            self._points_attention(points, sampling, rngs=rngs)
            if attention == "deformable"
            else None
        )
        self.channels = self.resnet.channels | dict.fromkeys(self.levels, vit_spec.width)
        self.width = vit_spec.width

    def __call__(
        self, images: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the ResNet's finer maps, the token maps and pooled."""
        key = key if train else None
        maps = self.resnet(images, train=train)
        pyramid = self.fpn(maps, train=train)
        if self.extra is not None:
            pyramid[self.levels[-1]] = self.extra(maps[max(maps)], train=train)
        grids = {stride: x.shape[1:3] for stride, x in pyramid.items()}
        patch_size = self.vit.spec.patch_size
        h, w = grid_of(images.shape[1:3], patch_size)
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
            x = self.vit.embed(x)
            place = self._positions(x.shape[1:3], stride, extent_px) + self.level[index]
            maps[stride] = x + place.astype(x.dtype)
        return to_tokens(maps)

    def _positions(
        self, hw: tuple[int, int], stride: int, extent_px: tuple[int, int]
    ) -> jax.Array | np.ndarray:
        """Returns (h, w, D) or (1, 1, D) in float32.

        `extent_px` is the image in whole patches: what a ViT's own grid covers.
        """
        spec = self.vit.spec
        if spec.positions == "rope2d":
            return np.zeros((1, 1, spec.width), np.float32)
        if spec.positions == "sincos2d":
            return sincos2d(hw, spec.width, spacing=stride / spec.patch_size)
        patches = tuple(side // spec.patch_size for side in extent_px)
        grid = resize_grid(self.vit.position[...], patches, method=spec.position_resize)
        return sample_grid(grid, hw, extent=_in_cells(extent_px, stride))

    def _rotation(self, grids: dict[int, tuple[int, int]], extent_px: tuple[int, int]):
        spec = self.vit.spec
        if spec.positions != "rope2d":
            return None
        tables = [
            rope2d(hw, spec.width // spec.heads, extent=_in_cells(extent_px, stride))
            for stride, hw in grids.items()
        ]
        return tuple(np.concatenate(sides) for sides in zip(*tables, strict=True))

    def _encode(self, tokens, grids, *, rotation, key):
        """Runs the blocks and the last norm over (B, prefix + N, D)."""
        depth = self.vit.spec.depth
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
            y = windowed_attention(*qkv, grids=list(grids.values()), window=self.window)
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
            first = attn.out(first.reshape(len(y), self.vit.prefix, -1))
            return jnp.concatenate([first, y], axis=1)

        return attend

    def _points_attention(self, points: int, sampling: str, *, rngs) -> nnx.List:
        """Returns each block's deformable attention."""
        spec = self.vit.spec
        modules = [
            DeformableAttention(
                spec,
                query_dim=spec.width,
                value_dim=spec.width,
                dim=spec.width,
                heads=spec.heads,
                levels=len(self.levels),
                points=points,
                sampling=sampling,
                rngs=rngs,
            )
            for _ in range(spec.depth)
        ]
        return nnx.List(modules)


def _without_unused(spec: ViTSpec) -> ViTSpec:
    """Returns the spec without what attention at points cannot use."""
    positions = "sincos2d" if spec.positions == "rope2d" else spec.positions
    return dataclasses.replace(spec, registers=0, positions=positions)


def _in_cells(extent_px: tuple[int, int], stride: int) -> tuple[float, float]:
    return extent_px[0] / stride, extent_px[1] / stride


def _levels_of(channels: dict[int, int], wanted) -> tuple[int, ...]:
    """Returns the wanted strides, fine to coarse; None wants all the ResNet has."""
    where, given = f"{_WHERE}: levels", tuple(s for s in (8, 16, 32) if s in channels)
    if not given:
        raise UserError(
            f"{where}: expected a ResNet with stride 8, 16 or 32, "
            f"got one with {tuple(channels)}."
        )
    if wanted is None:
        return given
    if not isinstance(wanted, tuple | list) or not wanted or set(wanted) - set(given):
        raise UserError(
            f"{where}: expected some of {given}, which the ResNet has, got {wanted}."
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
