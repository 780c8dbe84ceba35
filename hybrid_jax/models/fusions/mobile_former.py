"""`mobile_former`: a ResNet and a few learned global tokens (Chen et al., 2021).

The blocks of both parts are split into the same number of units (the smaller number of
blocks). A unit maps X and the M tokens z, which are learned parameters at first:

    z = z + Linear(Attention(Linear(LayerNorm(z)) -> X))   (B, M, D), keys and values are X
    z = ViT blocks of the unit(z)                          (B, M, D), M x M attention
    X = ResNet blocks of the unit(X)                       (B, H/s, W/s, C)
    n = LayerNorm(z)                                       (B, M, D)
    X = X + Attention(X -> Linear(n), Z(n))                (B, H/s, W/s, C), queries are X

The map is never projected, so that both attentions together cost about 2 M products per
cell and channel. Z starts at zero: at initialization the maps are the ResNet's.

Differences to the paper: bottlenecks instead of depthwise MobileNet blocks; no dynamic
ReLU; pre-norm instead of post-norm transformer blocks.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.array_types import Images, Map, Tokens
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.block_shares import even_shares
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.layers.transformer import layer_norm, linear
from hybrid_jax.models.options import check_has_stages
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.ops.positions import rope2d
from hybrid_jax.specs import ResNetSpec, ViTSpec

_zeros = nnx.initializers.zeros_init()


@FUSIONS.register("mobile_former")
class MobileFormer(nnx.Module):
    """Returns the ResNet's maps; `pooled` has the mean of the last and the pooled tokens.

    The ViT's blocks, last norm and pooling are used; with class pooling, the first token is
    the pooled one. Patch embedding, class token, register tokens and positions are not
    built.

    Args:
        num_tokens: M, the number of tokens, at least 2.
        num_heads: heads of the attention between map and tokens; must divide the ResNet's
            width.
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
        num_tokens: int = 6,
        num_heads: int = 2,
    ):
        _check(resnet_spec, num_tokens, num_heads)
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        # The tokens have no positions: no rotation, no learned grid.
        vit_spec = dataclasses.replace(vit_spec, positions="learned", num_register_tokens=0)
        without = ("embed", "cls", "positions")
        self.vit = ViT(vit_spec, grid=(1, 1), without=without, rngs=rngs)
        normal = nnx.initializers.normal(1.0)
        shape = (num_tokens, vit_spec.width)
        self.tokens = nnx.Param(normal(rngs.params(), shape, jnp.float32))
        outputs = [stage.channels for stage in self.resnet.stages for _ in stage.blocks]
        inputs = [resnet_spec.width, *outputs]
        units = min(len(outputs), vit_spec.depth)
        # Indices of the blocks of each unit, those of the ResNet counted over all stages.
        self.resnet_blocks = even_shares(len(outputs), units)
        self.vit_blocks = even_shares(vit_spec.depth, units)
        options: dict[str, Any] = dict(num_heads=num_heads, rngs=rngs)
        self.reads = nnx.List(
            [Read(vit_spec, inputs[run[0]], **options) for run in self.resnet_blocks]
        )
        self.writes = nnx.List(
            [Write(vit_spec, outputs[run[-1]], **options) for run in self.resnet_blocks]
        )
        self.channels = self.resnet.channels
        self.width = self.channels[max(self.channels)] + vit_spec.width

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the ResNet's maps and the two pooled vectors."""
        key = key if train else None
        blocks = [(stage, block) for stage in self.resnet.stages for block in stage.blocks]
        x, maps = self.resnet.stem(images, train=train), {}
        tokens = self.tokens[...].astype(jnp.dtype(self.vit.spec.dtype))
        tokens = jnp.broadcast_to(tokens, (images.shape[0], *tokens.shape))
        # The tokens are no cells of the image; under rope2d their places are their order.
        spec, rotation = self.vit.spec, None
        if spec.positions == "rope2d":
            rotation = rope2d((1, tokens.shape[1]), spec.width // spec.num_heads)
        for unit in range(len(self.reads)):
            tokens = tokens + self.reads[unit](tokens, x)
            tokens = self.vit.run_blocks(
                self.vit_blocks[unit], tokens, key=key, rotation=rotation
            )
            for number in self.resnet_blocks[unit]:
                stage, block = blocks[number]
                x = maps[stage.stride] = block(x, train=train)
            x = maps[stage.stride] = x + self.writes[unit](x, tokens).astype(x.dtype)
        pooled = [x.mean((1, 2)), self.vit.pool_tokens(self.vit.norm(tokens))]
        return Features(maps=maps, pooled=jnp.concatenate(pooled, axis=-1))


class Read(nnx.Module):
    """Attention from tokens to the unprojected cells of a map ("Mobile -> Former")."""

    def __init__(self, spec: ViTSpec, channels: int, *, num_heads: int, rngs: nnx.Rngs):
        self.norm = layer_norm(spec, rngs=rngs)
        self.query = linear(spec, spec.width, channels, rngs=rngs)
        self.out = linear(spec, channels, spec.width, rngs=rngs)
        self.num_heads = num_heads

    def __call__(self, tokens: Tokens, x: Map) -> Tokens:
        """Maps (B, M, D) and (B, h, w, C) to (B, M, D)."""
        query = self.query(self.norm(tokens))
        cells = x.astype(query.dtype)
        return self.out(_attend(query, cells, cells, num_heads=self.num_heads))


class Write(nnx.Module):
    """Attention from unprojected cells to tokens ("Mobile <- Former"); zero at first."""

    def __init__(self, spec: ViTSpec, channels: int, *, num_heads: int, rngs: nnx.Rngs):
        self.norm = layer_norm(spec, rngs=rngs)
        # A key bias would add the same number to all logits, which the softmax cancels.
        self.key = linear(spec, spec.width, channels, rngs=rngs, use_bias=False)
        self.value = linear(spec, spec.width, channels, rngs=rngs, kernel_init=_zeros)
        self.num_heads = num_heads

    def __call__(self, x: Map, tokens: Tokens) -> Map:
        """Maps (B, h, w, C) and (B, M, D) to (B, h, w, C)."""
        tokens = self.norm(tokens)
        key, value = self.key(tokens), self.value(tokens)
        update = _attend(x.astype(key.dtype), key, value, num_heads=self.num_heads)
        return update.reshape(x.shape)


def _attend(query, key, value, *, num_heads):
    """Multi-head attention without projections, from (B, ..., C) to (B, N, C)."""
    query, key, value = (
        array.reshape(array.shape[0], -1, num_heads, array.shape[-1] // num_heads)
        for array in (query, key, value)
    )
    return attention(query, key, value).reshape(*query.shape[:2], -1)


def _check(spec, num_tokens, num_heads):
    check_has_stages("mobile_former", spec)
    if num_tokens < 2:
        # Self-attention of one token is constant.
        raise UserError(
            f"fusion 'mobile_former': num_tokens: expected 2 or more, got {num_tokens}."
        )
    if num_heads < 1 or spec.width % num_heads:
        raise UserError(
            f"fusion 'mobile_former': num_heads: expected a divisor of the ResNet's width "
            f"{spec.width}, got {num_heads}."
        )
