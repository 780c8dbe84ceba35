"""Vision Transformer (Dosovitskiy et al., 2020): embedding, blocks, norm, pooling."""

import functools
from collections.abc import Callable, Collection

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.remat import run_block
from hybrid_jax.models.layers.transformer import AttentionPool, Block, dropout, layer_norm
from hybrid_jax.models.vit.block_scan import scan_blocks
from hybrid_jax.models.vit.taps import current_taps
from hybrid_jax.ops.positions import resize_grid, rope2d, sincos2d
from hybrid_jax.ops.row_major import row_major
from hybrid_jax.specs import ViTSpec

_lecun_normal = nnx.initializers.lecun_normal()
_normal = nnx.initializers.normal(0.02)
PIECES = ("embed", "cls", "positions", "attention", "pool")


class ViT(nnx.Module):
    """A ViT on an image or on a feature map.

    Call `vit(x, train=...)` for all of it. Or call its steps: `tokens = vit.embed_map(x)`,
    `vit.run_blocks(range(...), tokens, ...)`, or `vit.run_block(i, tokens, ...)` for each,
    `vit.norm`, `vit.pool_tokens`. The first `vit.prefix` tokens are the class token and the
    register tokens.

    Args:
        spec: sizes and numerics.
        grid: (h, w) of the learned position embeddings; they are resized to any other grid.
        in_channels: C of the input; 3 for an image.
        patch_size: cells of the input per token and side; the spec's if None.
        without: pieces that are not built, of `PIECES`, because the caller replaces them or
            does not use them: "embed", "cls" (the class token), "positions" (those added
            to the patches; rotary ones stay), "attention" (of the blocks) and "pool" (the
            attention pooling).
    """

    def __init__(
        self,
        spec: ViTSpec,
        *,
        grid: tuple[int, int],
        rngs: nnx.Rngs,
        in_channels: int = 3,
        patch_size: int | None = None,
        without: Collection[str] = (),
    ):
        if set(without) - set(PIECES):
            raise ValueError(f"ViT: without: expected some of {PIECES}, got {without}.")
        self.spec = spec
        has_cls, learned = spec.pool == "cls", spec.positions == "learned"
        self.prefix = has_cls + spec.num_register_tokens
        self.embed = (
            _embedding(spec, in_channels, patch_size or spec.patch_size, rngs=rngs)
            if "embed" not in without
            else _not_built(rngs=rngs)
        )
        cls = has_cls and "cls" not in without
        self.cls = nnx.Param(jnp.zeros((1, spec.width))) if cls else None
        self.registers = (
            _array(spec.num_register_tokens, spec.width, rngs=rngs)
            if spec.num_register_tokens
            else None
        )
        # The position of the class token is a separate array, so that the grid can have
        # any shape; vit_jax has both in one (N + 1, D) array.
        placed = "positions" not in without
        position = _array if placed else _not_built
        self.cls_position = (
            position(1, spec.width, rngs=rngs) if has_cls and learned else None
        )
        self.position = position(*grid, spec.width, rngs=rngs) if learned else None
        self.adds_positions = placed and spec.positions != "rope2d"
        # The last block has the spec's rate, also if it is the only one.
        rates = np.linspace(0.0, spec.drop_path, spec.depth)
        rates[-1:] = spec.drop_path
        use_attention = "attention" not in without
        self.blocks = nnx.List(
            [
                Block(spec, drop_path=float(rate), use_attention=use_attention, rngs=rngs)
                for rate in rates
            ]
        )
        self.norm = layer_norm(spec, rngs=rngs)
        probed = spec.pool == "attention" and "pool" not in without
        self.probe_pool = AttentionPool(spec, rngs=rngs) if probed else None

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Maps (B, H, W, C) to the final map (B, h, w, D) and the pooled vector (B, D)."""
        key = key if train else None
        tokens, hw = self.embed_map(x, key=key)
        tokens = self.run_blocks(range(self.spec.depth), tokens, hw=hw, key=key)
        tokens = self.norm(tokens)
        return self.to_map(tokens, hw=hw), self.pool_tokens(tokens)

    def embed_map(
        self, x: jax.Array, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, tuple[int, int]]:
        """Maps (B, H, W, C) to tokens (B, prefix + N, D) with positions, and (h, w)."""
        assert self.embed is not None  # else the caller embeds
        x = self.embed(x)
        B, h, w, D = x.shape
        if self.adds_positions:
            x = x + self._positions((h, w))
        return self.add_prefix(x.reshape(B, h * w, D), key=key), (h, w)

    def add_prefix(self, tokens: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Prepends the class and register tokens to (B, N, D) and applies dropout."""
        prefix = [
            jnp.broadcast_to(token.astype(tokens.dtype), (tokens.shape[0], *token.shape))
            for token in self._prefix_tokens()
        ]
        tokens = jnp.concatenate([*prefix, tokens], axis=1) if prefix else tokens
        key_embed = None if key is None else jax.random.fold_in(key, self.spec.depth)
        return row_major(dropout(tokens, rate=self.spec.dropout, key=key_embed))

    def run_blocks(
        self,
        indices: range,
        tokens: jax.Array,
        *,
        hw: tuple[int, int] | None = None,
        key: jax.Array | None = None,
        rotation: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> jax.Array:
        """Applies consecutive blocks to tokens (B, prefix + N, D), see `run_block`.

        They are one loop if `spec.block_loop` says so, and a head wants no tokens from
        between them.
        """
        unrolled = self.spec.block_loop == "unrolled" or current_taps() is not None
        if unrolled or len(indices) < 2:
            for index in indices:
                tokens = self.run_block(index, tokens, hw=hw, key=key, rotation=rotation)
            return tokens
        rotation = self._rotation(hw) if rotation is None else rotation
        run = functools.partial(
            _run, key=key, rotation=rotation, remat=self.spec.remat, block_loop="scan"
        )
        blocks = [self.blocks[index] for index in indices]
        return scan_blocks(run, blocks, tokens, first=indices.start)

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
        """Applies block `index` to tokens (B, prefix + N, D).

        Args:
            hw: (h, w) of the grid of the tokens; None if they have no single grid.
            key: switches dropout and drop path on.
            bias: added to the attention logits, broadcastable to (B, heads, N, N).
            rotation: rotary positions of tokens without `hw`, see `Block`.
            attend: replaces the block's attention, see `Block`.
        """
        rotation = self._rotation(hw) if rotation is None else rotation
        tokens = _run(
            self.blocks[index],
            index,
            tokens,
            key=key,
            bias=bias,
            rotation=rotation,
            attend=attend,
            remat=self.spec.remat,
        )
        taps = current_taps()
        if taps is not None and hw is not None:
            cls = tokens[:, 0] if self.spec.pool == "cls" else None
            taps.record(index, self.to_map(tokens, hw=hw), cls)
        return tokens

    def add_to_patches(self, tokens: jax.Array, change: jax.Array) -> jax.Array:
        """Adds (B, N, D) or a map (B, h, w, D) to the patch tokens.

        The class token and the register tokens are not changed.
        """
        patches = tokens[:, self.prefix :]
        patches = patches + change.astype(tokens.dtype).reshape(patches.shape)
        return jnp.concatenate([tokens[:, : self.prefix], patches], axis=1)

    def to_map(self, tokens: jax.Array, *, hw: tuple[int, int]) -> jax.Array:
        """Reshapes the patch tokens to a map (B, h, w, D)."""
        return tokens[:, self.prefix :].reshape(tokens.shape[0], *hw, -1)

    def pool_tokens(self, tokens: jax.Array) -> jax.Array:
        """Pools normed tokens (B, prefix + N, D) to (B, D) as `spec.pool` says."""
        if self.spec.pool == "cls":
            return tokens[:, 0]
        patches = tokens[:, self.prefix :]
        if self.spec.pool == "mean":
            return patches.mean(1)
        assert self.probe_pool is not None  # else the caller pools
        return self.probe_pool(patches)

    def _rotation(self, hw: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray] | None:
        if hw is None or self.spec.positions != "rope2d":
            return None
        return rope2d(hw, self.spec.width // self.spec.num_heads)

    def _prefix_tokens(self) -> list[jax.Array]:
        tokens = []
        if self.cls is not None:
            cls = self.cls[...]
            at = self.cls_position
            tokens.append(cls if at is None else cls + at[...])
        if self.registers is not None:
            tokens.append(self.registers[...])
        return tokens

    def _positions(self, hw: tuple[int, int]) -> jax.Array:
        spec = self.spec
        if spec.positions == "sincos2d":
            return jnp.asarray(sincos2d(hw, spec.width), jnp.dtype(spec.dtype))
        assert self.position is not None  # else the caller adds positions
        grid = resize_grid(self.position[...], hw, method=spec.position_resize)
        return grid.astype(jnp.dtype(spec.dtype))


def _run(
    block,
    index,
    tokens,
    drop_path=None,
    *,
    key,
    rotation,
    remat,
    block_loop="unrolled",
    bias=None,
    attend=None,
) -> jax.Array:
    """Applies block number `index`, which may be an array ()."""
    key = None if key is None else jax.random.fold_in(key, index)

    def run(block, tokens, key, bias, drop_path):
        return block(
            tokens,
            key=key,
            bias=bias,
            rotation=rotation,
            attend=attend,
            drop_path=drop_path,
        )

    arrays = (tokens, key, bias, drop_path)
    return run_block(run, block, *arrays, remat=remat, block_loop=block_loop)


def _embedding(spec: ViTSpec, in_channels: int, patch_size: int, *, rngs) -> Conv:
    return Conv(
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


def _array(*shape: int, rngs: nnx.Rngs) -> nnx.Param:
    return nnx.Param(_normal(rngs.params(), shape, jnp.float32))


def _not_built(*_: int, rngs: nnx.Rngs) -> None:
    """Skips the random key of an array, so that all others start as in a full ViT."""
    rngs.params()
