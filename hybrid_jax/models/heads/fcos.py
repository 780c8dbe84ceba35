"""`fcos`: one box with class logits and a quality from every cell of several maps.

    P_s = FPN(C_s)                                      (B, h, w, T) for each stride
    class = conv(tower(P_s))                            (B, h, w, K)
    quality = conv(tower'(P_s)),  l, t, r, b = s * softplus(a_s * conv(tower'(P_s)))

FCOS (Tian et al., 2019) has no anchors: a cell predicts the distances from its center to
the four sides of the box. The quality is the predicted IoU of the box with the object,
which the authors later found better than center-ness (Tian et al., 2020).
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from hybrid_jax.array_types import Array, Map, Maps
from hybrid_jax.contracts import Features
from hybrid_jax.models.decoders.fpn import FPN
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec, group_count
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.normalization import GroupNorm
from hybrid_jax.outputs import DenseDetectionOutputs
from hybrid_jax.specs import Dtype

# Initial probability of each class (Lin et al., 2017, focal loss): with a larger one the
# loss of the many empty cells dominates the first steps.
_PRIOR = 0.01


@HEADS.register("fcos")
class FCOS(nnx.Module):
    """Two towers of convolutions, shared by all levels, on a feature pyramid.

    Args:
        channels: stride -> C of the maps a fusion gives.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype; the last convolutions run in float32, because they predict
            coordinates.
        strides: strides of the levels; objects are assigned to levels by size.
        tower_channels: T.
        num_convs: number of 3x3 convolutions in each tower.
        neck: "fpn" (a feature pyramid over all maps of the fusion at these strides and
            coarser ones) or "none" (only a 1x1 projection of each map to T channels, for
            fusions that end in a pyramid).
    """

    task = "detection"
    strides = (8, 16, 32)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: Dtype,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (8, 16, 32),
        tower_channels: int = 128,
        num_convs: int = 2,
        neck: Literal["fpn", "none"] = "fpn",
    ):
        self.strides = tuple(sorted(strides))
        norm = NormSpec(dtype=dtype)
        if neck == "fpn":
            self.neck = FPN(norm, channels, tower_channels, levels=self.strides, rngs=rngs)
        else:
            self.neck = None
            self.project = nnx.List(
                [
                    ConvNorm(norm, channels[stride], tower_channels, rngs=rngs)
                    for stride in self.strides
                ]
            )
        tower: dict[str, Any] = dict(num_convs=num_convs, dtype=dtype, rngs=rngs)
        self.class_tower = Tower(tower_channels, **tower)
        self.box_tower = Tower(tower_channels, **tower)
        last: dict[str, Any] = dict(kernel=3, padding="centered", use_bias=True, rngs=rngs)
        last["kernel_init"] = nnx.initializers.normal(0.01)
        self.logits = Conv(tower_channels, num_classes, **last)
        odds = -math.log((1 - _PRIOR) / _PRIOR)
        assert self.logits.bias is not None  # built above
        self.logits.bias[...] = jnp.full(num_classes, odds, jnp.float32)
        self.distances = Conv(tower_channels, 4, **last)
        self.quality = Conv(tower_channels, 1, **last)
        self.scales = nnx.Param(jnp.ones(len(self.strides)))

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> DenseDetectionOutputs:
        """Returns one box, K logits and one quality for each cell, in float32."""
        levels = []
        maps = self._pyramid(features.maps, train=train)
        scales = self.scales[...]
        for level, stride in enumerate(self.strides):
            scale = scales[level]
            x = maps[stride]
            B, h, w, _ = x.shape
            centers, strides = cell_centers((h, w), stride=stride)
            boxes_of = self.box_tower(x, train=train)
            raw = self.distances(boxes_of).reshape(B, h * w, 4)
            away = stride * jax.nn.softplus(scale * raw)
            levels.append(
                DenseDetectionOutputs(
                    logits=self.logits(self.class_tower(x, train=train)).reshape(
                        B, h * w, -1
                    ),
                    quality_logits=self.quality(boxes_of).reshape(B, h * w),
                    boxes_xyxy_px=jnp.concatenate(
                        [centers - away[..., :2], centers + away[..., 2:]], axis=-1
                    ),
                    centers_xy_px=centers,
                    strides_px=strides,
                )
            )
        return _joined(levels)

    def _pyramid(self, maps: Maps, *, train: bool) -> Maps:
        if self.neck is not None:
            return self.neck(maps, train=train)
        return {
            stride: project(maps[stride], train=train)
            for stride, project in zip(self.strides, self.project, strict=True)
        }


class Tower(nnx.Module):
    """A stack of 3x3 convolutions, each with GroupNorm and ReLU.

    Args:
        channels: of the input and of every layer.
        num_convs: number of convolutions.
        dtype: compute dtype.
    """

    def __init__(self, channels: int, *, num_convs: int, dtype: str, rngs: nnx.Rngs):
        conv: dict[str, Any] = dict(kernel=3, padding="centered", dtype=dtype, rngs=rngs)
        norm: dict[str, Any] = dict(eps=1e-6, groups=group_count(channels), dtype=dtype)
        self.convs = nnx.List([Conv(channels, channels, **conv) for _ in range(num_convs)])
        self.norms = nnx.List([GroupNorm(channels, **norm) for _ in range(num_convs)])

    def __call__(self, x: Map, *, train: bool) -> Map:
        """Maps (B, h, w, C) to the same shape."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.relu(norm(conv(x), train=train))
        return x


def cell_centers(
    hw: tuple[int, int], *, stride: int
) -> tuple[Float[Array, "N 2"], Float[Array, " N"]]:
    """Returns the centers (h * w, 2) of a map's cells, x and y in px, and their strides."""
    y, x = jnp.meshgrid(*(jnp.arange(n) + 0.5 for n in hw), indexing="ij")
    centers = stride * jnp.stack([x, y], axis=-1).reshape(-1, 2)
    return centers, jnp.full(hw[0] * hw[1], stride, jnp.float32)


def _joined(levels: list[DenseDetectionOutputs]) -> DenseDetectionOutputs:
    def join(name: str, axis: int) -> jax.Array:
        return jnp.concatenate([getattr(level, name) for level in levels], axis=axis)

    return DenseDetectionOutputs(
        logits=join("logits", 1),
        quality_logits=join("quality_logits", 1),
        boxes_xyxy_px=join("boxes_xyxy_px", 1),
        centers_xy_px=join("centers_xy_px", 0),
        strides_px=join("strides_px", 0),
    )
