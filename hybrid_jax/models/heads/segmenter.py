"""`segmenter`: class tokens, and masks from their products with the patch tokens.

    z = Blocks([patches; classes])                       (B, N + K, D)
    logits = (A z_patch) . (B z_class) / sqrt(D)         (B, h, w, K)

The mask transformer of Segmenter (Strudel et al., 2021). The paper scales both factors to
unit length and applies a LayerNorm over the classes; here the product is divided by
sqrt(D), as in attention, and is used as logits of the cross-entropy.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.array_types import AttentionMask, PixelMask, Tokens
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.layers.transformer import Block, layer_norm
from hybrid_jax.ops.matmul import dot_general
from hybrid_jax.ops.padding_mask import cell_mask
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.specs import Dtype, ViTSpec

# Added to the attention logits of padding: its exponential is zero; bfloat16 can hold it.


@HEADS.register("segmenter")
class Segmenter(nnx.Module):
    """Returns logits of every cell of one map, after attention among all cells.

    Args:
        channels: stride -> C of the maps.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype.
        strides: one stride, that of the map it reads.
        hidden_dim: D of the decoder.
        depth: number of transformer blocks.
        num_heads: attention heads; must divide `hidden_dim`.
        drop_path: stochastic depth rate of the blocks.

    Raises:
        UserError: not exactly one stride, or `num_heads` does not divide `hidden_dim`.
    """

    task = "segmentation"
    strides = (16,)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: Dtype,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (16,),
        hidden_dim: int = 192,
        depth: int = 2,
        num_heads: int = 3,
        drop_path: float = 0.1,
    ):
        if len(strides) != 1:
            raise UserError(
                f"head 'segmenter': strides: expected one stride, such as (16,), got "
                f"{tuple(strides)}."
            )
        spec = ViTSpec(
            width=hidden_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_dim=4 * hidden_dim,
            dtype=dtype,
        )
        (self.stride,) = strides
        kind: dict[str, Any] = dict(
            dtype=jnp.dtype(dtype), dot_general=dot_general, rngs=rngs
        )
        self.embed = nnx.Linear(channels[self.stride], hidden_dim, **kind)
        normal = nnx.initializers.normal(0.02)
        self.classes = nnx.Param(
            normal(rngs.params(), (num_classes, hidden_dim), jnp.float32)
        )
        self.blocks = nnx.List(
            [Block(spec, drop_path=drop_path, rngs=rngs) for _ in range(depth)]
        )
        self.norm = layer_norm(spec, rngs=rngs)
        self.patch = nnx.Linear(hidden_dim, hidden_dim, use_bias=False, **kind)
        self.mask = nnx.Linear(hidden_dim, hidden_dim, use_bias=False, **kind)

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> SegmentationOutputs:
        """Maps (B, h, w, C) to logits (B, h, w, K)."""
        x = self.embed(features.maps[self.stride])
        B, h, w, D = x.shape
        K = self.classes.shape[0]
        classes = jnp.broadcast_to(self.classes[...].astype(x.dtype), (B, K, D))
        tokens = jnp.concatenate([x.reshape(B, h * w, D), classes], axis=1)
        mask = self._key_mask(features.mask, tokens)
        for number, block in enumerate(self.blocks):
            chosen = jax.random.fold_in(key, number) if train and key is not None else None
            tokens = block(tokens, key=chosen, mask=mask)
        tokens = self.norm(tokens)
        patches = self.patch(tokens[:, : h * w]).astype(jnp.float32)
        classes = self.mask(tokens[:, h * w :]).astype(jnp.float32)
        logits = jnp.einsum("bnd,bkd->bnk", patches, classes) / math.sqrt(D)
        return SegmentationOutputs(logits.reshape(B, h, w, K), stride=self.stride)

    def _key_mask(self, mask: PixelMask | None, tokens: Tokens) -> AttentionMask | None:
        """Returns (B, 1, 1, N + K), False where a key is padding."""
        if mask is None:
            return None
        B, N, _ = tokens.shape
        real = cell_mask(mask, stride=self.stride).reshape(B, -1)
        real = jnp.pad(real, ((0, 0), (0, N - real.shape[1])), constant_values=True)
        return real[:, None, None]
