"""`cross_attention`: a ResNet and a ViT in parallel with cross-attention between them.

    C_i = ResNet stage i                                (B, H/s, W/s, C_s)
    z = the group of ViT blocks of stage i              (B, 1 + N, D)
    k = LayerNorm(C_i) pooled to the patch stride + P   (B, M, C_s)
    z' = z + Z(Attention(LayerNorm(z) + P -> k))        (B, 1 + N, D)
    C' = C_i + Z(Attention(LayerNorm(C_i) + P -> LayerNorm(z) + P))

Both directions read the values before the exchange; stage i + 1 and the next blocks
continue from C' and z'. P is a fixed sincos table over the image plane, sampled at the
centers of the cells, so that positions agree across strides. Z starts at zero: at
initialization the tokens are the plain ViT's and the maps the plain ResNet's.

Attention both ways between a convolutional and a token branch is Mobile-Former's
(Chen et al., 2021) and, between two token branches, CrossViT's (Chen et al., 2021).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.array_types import Images, Map, Tokens
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.block_shares import even_shares
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.layers.cross_attention import CrossAttention
from hybrid_jax.models.layers.transformer import layer_norm
from hybrid_jax.models.options import check_has_stages
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.positions import sincos2d
from hybrid_jax.ops.rescale import average_pool, upsample
from hybrid_jax.specs import ResNetSpec, ViTSpec


@FUSIONS.register("cross_attention")
class CrossAttentionFusion(nnx.Module):
    """Returns the ResNet's maps and, at the patch stride, the ViT's map.

    `pooled` is the ViT's pooled vector: a head that reads only `pooled` gives no gradient
    to the map's side of the last exchange, or to a stage after it.

    Args:
        exchanges: number of stages that end with an exchange, evenly spaced up to the last
            one; or a tuple of their numbers, from 1; None for all. If the ViT's map
            replaces the map of the last stage, that stage must have an exchange, because
            nothing else reads its map.
        context_stride: stride of the keys for the tokens: finer maps are average-pooled
            by an integer factor; None for the patch size.
        query_stride: stride of the queries from the maps: finer maps are average-pooled,
            and the result is upsampled. With 4 every cell is a query: N * H * W / 16 logits
            per head in the first stage (0.6 M at 224 px). Use 8 or 16 for images of a
            thousand pixels.
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
        exchanges: int | tuple[int, ...] | None = None,
        context_stride: int | None = None,
        query_stride: int = 4,
    ):
        self.stride = vit_spec.patch_size
        context_stride = self.stride if context_stride is None else context_stride
        check_has_stages("cross_attention", resnet_spec)
        stages = len(resnet_spec.blocks)
        _check(vit_spec, context_stride, query_stride)
        self.meets_after = _meeting_stages(exchanges, stages)
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        replaced = self.resnet.stages[-1].stride == self.stride
        if replaced and stages - 1 not in self.meets_after:
            raise UserError(
                f"fusion 'cross_attention': exchanges: expected an exchange in the last "
                f"stage, {stages}, because the ViT's map replaces that of this stage, got "
                f"{exchanges!r}."
            )
        self.vit = ViT(vit_spec, grid=grid_of(image_size, self.stride), rngs=rngs)
        self.exchanges = nnx.List(
            [
                Exchange(
                    vit_spec,
                    self.resnet.stages[index].channels,
                    stride=self.resnet.stages[index].stride,
                    context_stride=context_stride,
                    query_stride=query_stride,
                    # The last map is not used if the ViT's map replaces it.
                    updates_map=index + 1 < stages or not replaced,
                    rngs=rngs,
                )
                for index in self.meets_after
            ]
        )
        channels = self.resnet.channels | {self.stride: vit_spec.width}
        self.channels = dict(sorted(channels.items()))
        self.width = vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the ResNet's maps, the ViT's map and its pooled vector."""
        key = key if train else None
        vit, stages = self.vit, self.resnet.stages
        tokens, hw = vit.embed_map(images, key=key)
        x, maps = self.resnet.stem(images, train=train), {}
        shares = even_shares(vit.spec.depth, len(stages))
        for number, stage in enumerate(stages):
            x = stage(x, train=train)
            tokens = vit.run_blocks(shares[number], tokens, hw=hw, key=key)
            if number in self.meets_after:
                exchange = self.exchanges[self.meets_after.index(number)]
                x, tokens = exchange(x, tokens, hw=hw)
            maps[stage.stride] = x
        tokens = vit.norm(tokens)
        maps[self.stride] = vit.to_map(tokens, hw=hw)
        return Features(maps=dict(sorted(maps.items())), pooled=vit.pool_tokens(tokens))


class Exchange(nnx.Module):
    """Cross-attention between a map and the tokens, in both directions; zero at first.

    Args:
        channels: C of the map.
        stride: pixels per cell of the map.
        updates_map: False does not change the map.
    """

    def __init__(
        self,
        spec: ViTSpec,
        channels: int,
        *,
        stride: int,
        context_stride: int,
        query_stride: int,
        updates_map: bool,
        rngs: nnx.Rngs,
    ):
        self.spacing = stride / spec.patch_size
        self.context_factor = max(context_stride // stride, 1)
        self.query_factor = max(query_stride // stride, 1)
        self.norm_map = nnx.LayerNorm(
            channels, epsilon=spec.norm_eps, dtype=jnp.dtype(spec.dtype), rngs=rngs
        )
        self.norm_tokens = layer_norm(spec, rngs=rngs)
        options: dict[str, Any] = dict(zero_init=True, rngs=rngs)
        self.to_tokens = CrossAttention(
            spec, spec.width, channels, num_heads=spec.num_heads, **options
        )
        # Heads of gcd(C, 64) channels.
        num_heads = channels // math.gcd(channels, 64)
        self.to_map = (
            CrossAttention(spec, channels, spec.width, num_heads=num_heads, **options)
            if updates_map
            else None
        )

    def __call__(
        self, x: Map, tokens: Tokens, *, hw: tuple[int, int]
    ) -> tuple[Map, Tokens]:
        """Maps (B, h, w, C) and tokens (B, prefix + N, D) to both; `hw` of the N tokens."""
        cells = self.norm_map(x)
        normed = _with_positions(self.norm_tokens(tokens), hw, spacing=1.0)
        update = self.to_tokens(normed, self._pooled(cells, self.context_factor)[0])
        tokens = tokens + update.astype(tokens.dtype)
        if self.to_map is None:
            return x, tokens
        queries, grid = self._pooled(cells, self.query_factor)
        update = self.to_map(queries, normed).reshape(x.shape[0], *grid, -1)
        update = upsample(update, hw_of(x), factor=self.query_factor)
        return x + update.astype(x.dtype), tokens

    def _pooled(self, cells, factor):
        """Returns pooled cells (B, M, C) with positions, and their grid (h', w')."""
        cells = average_pool(cells, factor=factor)
        grid = hw_of(cells)
        cells = cells.reshape(cells.shape[0], -1, cells.shape[-1])
        return _with_positions(cells, grid, spacing=self.spacing * factor), grid


def _with_positions(tokens, hw, *, spacing):
    """Adds the sincos table to the last h * w tokens, and nothing to those before."""
    B, N, D = tokens.shape
    table = sincos2d(hw, D, spacing=spacing).reshape(-1, D)
    table = jnp.pad(jnp.asarray(table, tokens.dtype), ((N - len(table), 0), (0, 0)))
    return tokens + table


def _meeting_stages(exchanges, stages: int) -> tuple[int, ...]:
    """Returns the indices, from 0, of the stages that end with an exchange."""
    if exchanges is None:
        return tuple(range(stages))
    numbers = range(1, stages + 1)
    if isinstance(exchanges, tuple | list):
        if (
            not exchanges
            or any(number not in numbers for number in exchanges)
            or sorted(set(exchanges)) != list(exchanges)
        ):
            raise UserError(
                f"fusion 'cross_attention': exchanges: expected stage numbers from 1 to "
                f"{stages} in increasing order, got {exchanges!r}."
            )
        return tuple(int(number) - 1 for number in exchanges)
    if exchanges not in numbers:
        raise UserError(
            f"fusion 'cross_attention': exchanges: expected 1 to {stages}, the number of "
            f"stages of the ResNet, or a tuple of stage numbers, got {exchanges!r}."
        )
    return tuple(stages * (k + 1) // exchanges - 1 for k in range(int(exchanges)))


def _check(vit_spec, context_stride, query_stride):
    for name, value in (("context_stride", context_stride), ("query_stride", query_stride)):
        if value < 1:
            raise UserError(
                f"fusion 'cross_attention': {name}: expected 1 px or more, got {value}."
            )
    if vit_spec.width % 4:
        raise UserError(
            f"fusion 'cross_attention': vit.width: expected a multiple of 4 for the "
            f"sincos table, got {vit_spec.width}."
        )
