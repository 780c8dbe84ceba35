"""`fpn`: a feature pyramid with pyramid pooling on top, classified at its finest level.

A lighter UPerNet (Xiao et al., 2018): the levels are summed, as in the semantic FPN of
Kirillov et al. (2019), instead of concatenated.

    T = PyramidPooling(C_32)                             (B, H/32, W/32, C)
    P_s = FPN(C_4, C_8, C_16, T)                         (B, H/s, W/s, C)
    logits = Linear(relu(norm(conv3x3(sum of all P_s enlarged to the finest))))
"""

import functools
import operator

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.models.decoders.fpn import FPN
from hybrid_jax.models.decoders.pixel_logits import PixelClassifier, class_logits
from hybrid_jax.models.decoders.pyramid_pooling import PyramidPooling
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.transformer import dropout
from hybrid_jax.ops.rescale import upsample
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.specs import Dtype


@HEADS.register("fpn")
class FPNHead(nnx.Module):
    """Returns logits at the finest stride.

    Args:
        channels: stride -> C of the maps.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype.
        strides: strides of the maps it reads; each is a multiple of the next finer one.
        hidden_dim: channels of every level.
        auxiliary: whether an auxiliary classifier reads the map of stride 16 (or the
            coarsest, if there is none), for a second loss in training.
        dropout: rate before each classifier.
    """

    task = "segmentation"
    strides = (4, 8, 16, 32)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: Dtype,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        hidden_dim: int = 128,
        auxiliary: bool = True,
        dropout: float = 0.1,
    ):
        norm = NormSpec(dtype=dtype)
        self.levels = tuple(sorted(strides))
        top = self.levels[-1]
        self.pooling = PyramidPooling(norm, channels[top], hidden_dim, rngs=rngs)
        in_channels = {s: channels[s] for s in self.levels} | {top: hidden_dim}
        self.pyramid = FPN(norm, in_channels, hidden_dim, levels=self.levels, rngs=rngs)
        self.fuse = ConvNorm(norm, hidden_dim, hidden_dim, kernel=3, rngs=rngs)
        self.logits = class_logits(hidden_dim, num_classes, rngs=rngs)
        self.auxiliary_stride = 16 if 16 in self.levels else top
        self.auxiliary = (
            PixelClassifier(
                norm,
                channels[self.auxiliary_stride],
                hidden_dim,
                num_classes=num_classes,
                dropout=dropout,
                rngs=rngs,
            )
            if auxiliary
            else None
        )
        self.dropout = dropout

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> SegmentationOutputs:
        """Maps {stride: (B, h, w, C_s)} to logits (B, h_finest, w_finest, K)."""
        keys = (None, None) if key is None or not train else jax.random.split(key)
        maps = {stride: features.maps[stride] for stride in self.levels}
        finest, top = self.levels[0], self.levels[-1]
        maps[top] = self.pooling(maps[top], train=train)
        levels = self.pyramid(maps, train=train)
        hw = hw_of(levels[finest])
        resized = (upsample(x, hw, factor=s // finest) for s, x in levels.items())
        x = functools.reduce(operator.add, resized)
        x = dropout(self.fuse(x, train=train), rate=self.dropout, key=keys[0])
        auxiliary = None
        if self.auxiliary is not None:
            read = features.maps[self.auxiliary_stride]
            auxiliary = self.auxiliary(read, train=train, key=keys[1])
        return SegmentationOutputs(
            logits=self.logits(x.astype(jnp.float32)),
            stride=finest,
            auxiliary=auxiliary,
            auxiliary_stride=self.auxiliary_stride,
        )
