"""`fpn_tokens`: all levels of a ResNet's pyramid as one sequence of ViT tokens.

    C8, C16, C32 = ResNet(x)
    P_s = norm(conv3x3(norm(conv1x1(C_s)) + nearest x2 of the coarser))   (B, H/s, W/s, C)
    P64 = norm(conv3x3/2(C32)), if asked for
    z_s = Linear(P_s) + level_s + positions_s              (B, h_s w_s, D)
    z   = ViT's blocks([cls; z_8; z_16; z_32])             (B, 1 + N, D)
    maps[s] = norm(z_s) as a map; the ResNet's map at strides without tokens

The top-down half is an FPN (Lin et al., 2016), the sequence Deformable DETR's encoder
(Zhu et al., 2020) with the ViT's blocks for layers. Positions are the ViT's, made to agree
between levels: learned grids are resized, sines are taken at the cells' places in pixels,
rotations turn by place relative to the image. Attention is

    full        all tokens to all: 1029 tokens at 224 px, five times a ViT/16's 196
    windowed    inside windows of each level; in every third block and the last, full
    deformable  a few points on every level, as in the paper (`models.deformable`)

Under "deformable" only the class token keeps the block's own attention, to all tokens: a
query without a place has no points to look at. Registers are left out, since nothing would
read them, and rotations are replaced by sines. It starts as neither part.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.conv_norm import ConvNorm
from hybrid_jax.models.deformable import DeformableAttention, cell_centres_px
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.resnet import ResNet
from hybrid_jax.models.vit import ViT
from hybrid_jax.ops.attention import attention as attend_all
from hybrid_jax.ops.positions import resize_grid, rope2d, sincos2d
from hybrid_jax.ops.rescale import upsample
from hybrid_jax.ops.windows import windowed_attention
from hybrid_jax.specs import ResNetSpec, ViTSpec

_normal = nnx.initializers.normal(0.02)
# Under "windowed", blocks 3, 6, 9, ... and the last attend across windows and levels.
GLOBAL_EVERY = 3


@FUSIONS.register("fpn_tokens")
class FPNTokens(nnx.Module):
    """A ResNet, an FPN, and a ViT's blocks over the cells of all its levels.

    Args:
        levels: strides that become tokens, of 8, 16 and 32; those the ResNet does not
            have are left out. (16, 32) costs a quarter of all three at 224 px.
        extra_level: adds tokens at twice the ResNet's coarsest stride.
        channels: C inside the FPN.
        attention: "full", "windowed" or "deformable".
        window: cells per window and side under "windowed".
        points: per query, head and level under "deformable".
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
        levels: tuple[int, ...] = (8, 16, 32),
        extra_level: bool = False,
        channels: int = 256,
        attention: str = "full",
        window: int = 7,
        points: int = 4,
    ):
        _check(attention, channels=channels, window=window, points=points)
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
            grid=tuple(math.ceil(side / vit_spec.patch_size) for side in image_size),
            in_channels=channels,
            patch_size=1,
            rngs=rngs,
        )
        shape = (len(self.levels), vit_spec.width)
        self.level = nnx.Param(_normal(rngs.params(), shape, jnp.float32))
        self.attention, self.window = attention, window
        self.deformable = (
            self._replace_attention(points, rngs=rngs)
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
        tokens = self.vit.add_prefix(self._embed(pyramid), key=key)
        tokens = self._encode(tokens, grids, key=key)
        cells = [h * w for h, w in grids.values()]
        parts = jnp.split(tokens[:, self.vit.prefix :], np.cumsum(cells)[:-1], axis=1)
        out = {
            stride: part.reshape(len(part), *hw, -1)
            for (stride, hw), part in zip(grids.items(), parts, strict=True)
        }
        return Features(maps=maps | out, pooled=self.vit.pool_tokens(tokens))

    def _embed(self, pyramid: dict[int, jax.Array]) -> jax.Array:
        """Maps the pyramid to tokens (B, N, D), level by level, with their positions."""
        tokens = []
        for index, (stride, x) in enumerate(pyramid.items()):
            x = self.vit.embed(x)
            B, h, w, D = x.shape
            place = self._positions((h, w), stride) + self.level[index]
            tokens.append((x + place.astype(x.dtype)).reshape(B, h * w, D))
        return jnp.concatenate(tokens, axis=1)

    def _positions(self, hw: tuple[int, int], stride: int) -> jax.Array | np.ndarray:
        """Returns (h, w, D) or (1, 1, D) in float32."""
        spec = self.vit.spec
        if spec.positions == "learned":
            return resize_grid(self.vit.position[...], hw, method=spec.position_resize)
        if spec.positions == "rope2d" and self.deformable is None:
            return np.zeros((1, 1, spec.width), np.float32)
        return sincos2d(hw, spec.width, spacing=stride / spec.patch_size)

    def _rotation(self, grids: dict[int, tuple[int, int]]):
        spec = self.vit.spec
        if spec.positions != "rope2d" or self.deformable is not None:
            return None
        tables = [rope2d(hw, spec.width // spec.heads) for hw in grids.values()]
        return tuple(np.concatenate(sides) for sides in zip(*tables, strict=True))

    def _encode(self, tokens, grids, *, key):
        """Runs the blocks and the last norm over (B, prefix + N, D)."""
        depth, rotation = self.vit.spec.depth, self._rotation(grids)
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
            [cell_centres_px(hw, stride) for stride, hw in grids.items()]
        )
        cells = np.cumsum([h * w for h, w in grids.values()])[:-1]

        def attend(attn, tokens):
            queries = tokens[:, self.vit.prefix :]
            levels = jnp.split(queries, cells, axis=1)
            maps = {
                stride: level.reshape(len(level), *hw, -1)
                for (stride, hw), level in zip(grids.items(), levels, strict=True)
            }
            y = deformable(queries, references_px, maps)
            if not self.vit.prefix:
                return y
            query, key, value = attn.project(tokens)
            first = attend_all(query[:, : self.vit.prefix], key, value)
            first = attn.out(first.reshape(len(y), self.vit.prefix, -1))
            return jnp.concatenate([first, y], axis=1)

        return attend

    def _replace_attention(self, points: int, *, rngs) -> nnx.List:
        """Returns each block's deformable attention; unused parts of the ViT go."""
        spec = self.vit.spec
        self.vit.registers = None
        self.vit.prefix = int(self.vit.cls is not None)
        if not self.vit.prefix:
            for block in self.vit.blocks:
                block.attn = None
        modules = [
            DeformableAttention(
                spec,
                query_dim=spec.width,
                value_dim=spec.width,
                dim=spec.width,
                heads=spec.heads,
                levels=len(self.levels),
                points=points,
                rngs=rngs,
            )
            for _ in range(spec.depth)
        ]
        return nnx.List(modules)


class FPN(nnx.Module):
    """1x1 laterals, sums from coarse to fine, 3x3 on what is returned.

    Args:
        in_channels: stride -> channels of the ResNet's maps; levels coarser than the
            finest of `levels` take part even if they are not returned.
        levels: strides returned.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: dict[int, int],
        channels: int,
        *,
        levels: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        self.strides = tuple(s for s in in_channels if s >= min(levels))
        self.levels = levels
        conv = dict(activation=None, rngs=rngs)
        self.lateral = nnx.List(
            [ConvNorm(spec, in_channels[s], channels, **conv) for s in self.strides]
        )
        self.smooth = nnx.List(
            [ConvNorm(spec, channels, channels, kernel=3, **conv) for _ in levels]
        )

    def __call__(self, maps: dict[int, jax.Array], *, train: bool) -> dict[int, jax.Array]:
        """Maps {stride: (B, h, w, C_s)} to {level: (B, h, w, channels)}."""
        summed, above = {}, None
        for stride, lateral in zip(self.strides[::-1], self.lateral[::-1], strict=True):
            x = lateral(maps[stride], train=train)
            if above is not None:
                x = x + upsample(
                    summed[above], x.shape[1:3], factor=above // stride, method="nearest"
                )
            summed[stride], above = x, stride
        return {
            stride: smooth(summed[stride], train=train)
            for stride, smooth in zip(self.levels, self.smooth, strict=True)
        }


def _levels_of(channels: dict[int, int], wanted) -> tuple[int, ...]:
    """Returns the wanted strides that the ResNet has, fine to coarse."""
    where, wanted = "fusion 'fpn_tokens'", tuple(wanted)
    if not wanted or not set(wanted) <= {8, 16, 32}:
        raise UserError(f"{where}: levels: expected some of 8, 16 and 32, got {wanted}.")
    levels = tuple(sorted(set(wanted) & set(channels)))
    if not levels:
        raise UserError(
            f"{where}: levels: expected strides of the ResNet, which has "
            f"{tuple(channels)}, got {wanted}."
        )
    return levels


def _check(attention, **counts):
    where = "fusion 'fpn_tokens'"
    if attention not in ("full", "windowed", "deformable"):
        raise UserError(
            f"{where}: attention: expected 'full', 'windowed' or 'deformable', "
            f"got {attention!r}."
        )
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{where}: {name}: expected 1 or more, got {count}.")
