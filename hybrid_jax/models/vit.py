"""Vision Transformer (Dosovitskiy et al., 2020) in stages: embed, blocks, norm, pool."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.models.convolution import Conv
from hybrid_jax.models.transformer import AttentionPool, Block, drop, layer_norm
from hybrid_jax.ops.positions import resize_grid, rope2d, sincos2d
from hybrid_jax.specs import ViTSpec

_lecun_normal = nnx.initializers.lecun_normal()


class ViT(nnx.Module):
    """A staged ViT over an image or over a feature map.

    Whole: `vit(x, train=...)`. By stages: `tokens = vit.embed_map(x, ...)`, then
    `vit.run_block(i, tokens, ...)` for each block, `vit.norm`, `vit.pool_tokens`.
    The first `vit.prefix` tokens are the class token and the registers.

    Args:
        spec: every number of the part.
        grid: (h, w) of the patch grid its learned positions are made for; any other grid
            is served by resizing them.
        in_channels: C of the input; 3 for an image.
        patch_size: cells of the input per token and side; the spec's if None.
    """

    def __init__(
        self,
        spec: ViTSpec,
        *,
        grid: tuple[int, int],
        rngs: nnx.Rngs,
        in_channels: int = 3,
        patch_size: int | None = None,
    ):
        self.spec = spec
        patch_size = patch_size or spec.patch_size
        self.embed = Conv(
            in_channels,
            spec.width,
            kernel=patch_size,
            stride=patch_size,
            padding="end",
            use_bias=True,
            kernel_init=_lecun_normal,
            dtype=spec.dtype,
            rngs=rngs,
        )
        normal = nnx.initializers.normal(0.02)
        has_cls = spec.pool == "cls"
        learned = spec.positions == "learned"
        self.cls = nnx.Param(jnp.zeros((1, spec.width))) if has_cls else None
        self.registers = (
            nnx.Param(normal(rngs.params(), (spec.registers, spec.width), jnp.float32))
            if spec.registers
            else None
        )
        # The class token's own position is kept beside the grid, so that the grid can
        # have any shape; together they are the (N + 1, D) array of vit_jax.
        self.cls_position = (
            nnx.Param(normal(rngs.params(), (1, spec.width), jnp.float32))
            if has_cls and learned
            else None
        )
        self.position = (
            nnx.Param(normal(rngs.params(), (*grid, spec.width), jnp.float32))
            if learned
            else None
        )
        # The ramp ends at the spec's rate; a ramp of one block has only that end.
        rates = np.linspace(0.0, spec.drop_path, spec.depth)
        rates[-1:] = spec.drop_path
        self.blocks = nnx.List(
            [Block(spec, drop_path=float(rate), rngs=rngs) for rate in rates]
        )
        self.norm = layer_norm(spec, rngs=rngs)
        self.probe_pool = (
            AttentionPool(spec, rngs=rngs) if spec.pool == "attention" else None
        )
        self.prefix = has_cls + spec.registers

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Maps (B, H, W, C) to the final map (B, h, w, D) and the pooled (B, D)."""
        key = key if train else None
        tokens, hw = self.embed_map(x, key=key)
        for index in range(self.spec.depth):
            tokens = self.run_block(index, tokens, hw=hw, key=key)
        tokens = self.norm(tokens)
        return self.to_map(tokens, hw=hw), self.pool_tokens(tokens)

    def embed_map(
        self, x: jax.Array, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, tuple[int, int]]:
        """Maps (B, H, W, C) to tokens (B, prefix + N, D) with positions, and (h, w)."""
        x = self.embed(x)
        B, h, w, D = x.shape
        x = x + self._positions((h, w))
        return self.add_prefix(x.reshape(B, h * w, D), key=key), (h, w)

    def add_prefix(self, tokens: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Puts class token and registers before (B, N, D) and drops at the spec's rate."""
        prefix = [
            jnp.broadcast_to(token.astype(tokens.dtype), (len(tokens), *token.shape))
            for token in self._prefix_tokens()
        ]
        tokens = jnp.concatenate([*prefix, tokens], axis=1) if prefix else tokens
        key_embed = None if key is None else jax.random.fold_in(key, self.spec.depth)
        return drop(tokens, rate=self.spec.dropout, key=key_embed)

    def run_block(
        self,
        index: int,
        tokens: jax.Array,
        *,
        hw: tuple[int, int] | None = None,
        key: jax.Array | None = None,
        bias: jax.Array | None = None,
        rotation: tuple[np.ndarray, np.ndarray] | None = None,
        attend: Callable | None = None,
    ) -> jax.Array:
        """Applies block `index` to tokens (B, prefix + N, D) of an (h, w) grid.

        `bias`, broadcastable to (B, heads, N, N), is added to the attention logits.
        Tokens of no single grid come without `hw`; under "rope2d" they bring their own
        `rotation`. `attend` stands in for the block's attention, see `Block`.
        """
        if hw is not None and rotation is None and self.spec.positions == "rope2d":
            rotation = rope2d(hw, self.spec.width // self.spec.heads)
        key = None if key is None else jax.random.fold_in(key, index)
        options = dict(rotation=rotation, attend=attend)
        if not self.spec.remat:
            return self.blocks[index](tokens, key=key, bias=bias, **options)
        graph, state = nnx.split(self.blocks[index])

        def apply(state, tokens, key, bias):
            return nnx.merge(graph, state)(tokens, key=key, bias=bias, **options)

        return jax.checkpoint(apply)(state, tokens, key, bias)

    def to_map(self, tokens: jax.Array, *, hw: tuple[int, int]) -> jax.Array:
        """Lays the patch tokens out as a map (B, h, w, D)."""
        return tokens[:, self.prefix :].reshape(tokens.shape[0], *hw, -1)

    def pool_tokens(self, tokens: jax.Array) -> jax.Array:
        """Reduces normed tokens (B, prefix + N, D) to (B, D) the way the spec says."""
        if self.spec.pool == "cls":
            return tokens[:, 0]
        patches = tokens[:, self.prefix :]
        if self.spec.pool == "mean":
            return patches.mean(1)
        return self.probe_pool(patches)

    def _prefix_tokens(self) -> list[jax.Array]:
        tokens = []
        if self.cls is not None:
            cls = self.cls[...]
            at = self.cls_position
            tokens.append(cls if at is None else cls + at[...])
        if self.registers is not None:
            tokens.append(self.registers[...])
        return tokens

    def _positions(self, hw: tuple[int, int]) -> jax.Array | float:
        spec = self.spec
        if spec.positions == "rope2d":
            return 0.0
        if spec.positions == "sincos2d":
            return jnp.asarray(sincos2d(hw, spec.width), jnp.dtype(spec.dtype))
        grid = resize_grid(self.position[...], hw, method=spec.position_resize)
        return grid.astype(jnp.dtype(spec.dtype))
