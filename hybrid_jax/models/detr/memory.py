"""The memory of DETR: the cells of all levels as one sequence of tokens."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from hybrid_jax.contracts import Features
from hybrid_jax.models.layers.conv_norm import group_count
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.deformable import cell_centers_px
from hybrid_jax.models.layers.normalization import GroupNorm
from hybrid_jax.ops.padding_mask import cell_mask
from hybrid_jax.ops.sine_positions import sine_positions
from hybrid_jax.specs import ViTSpec


@struct.dataclass
class Memory:
    """The N cells of all levels, fine to coarse, each level row by row.

    Attributes:
        tokens: (B, N, D).
        positions: (B, N, D), to be added to queries and keys; None if not needed.
        mask: (B, N) bool, False for cells of padding; None if all are real.
        levels: (stride, (h, w)) of each level.
        image_hw: (H, W) of the images in px.
    """

    tokens: jax.Array
    positions: jax.Array | None
    mask: jax.Array | None
    levels: tuple[tuple[int, tuple[int, int]], ...] = struct.field(pytree_node=False)
    image_hw: tuple[int, int] = struct.field(pytree_node=False)

    def maps(self) -> dict[int, jax.Array]:
        """Returns stride -> (B, h, w, D), zero in cells of padding."""
        tokens = self.tokens
        if self.mask is not None:
            tokens = jnp.where(self.mask[..., None], tokens, 0.0)
        return self.unrolled(tokens)

    def masks(self) -> dict[int, jax.Array] | None:
        """Returns stride -> (B, h, w) bool, True for real cells; None if all are real."""
        return None if self.mask is None else self.unrolled(self.mask)

    def unrolled(self, rows: jax.Array) -> dict[int, jax.Array]:
        """Splits (B, N, ...) into stride -> (B, h, w, ...)."""
        maps, start = {}, 0
        for stride, (h, w) in self.levels:
            part = rows[:, start : start + h * w]
            maps[stride] = part.reshape(rows.shape[0], h, w, *rows.shape[2:])
            start += h * w
        return maps

    def centers_px(self) -> np.ndarray:
        """Returns (N, 2) float32: the center (x, y) of each cell in px of the image."""
        return np.concatenate([cell_centers_px(hw, stride) for stride, hw in self.levels])


class MemoryMaker(nnx.Module):
    """Projects the maps of a fusion to one width and flattens them to one sequence.

    Args:
        spec: gives the width and the dtype.
        channels: stride -> C of the maps.
        strides: of the levels, fine to coarse.
        input_norm: whether a GroupNorm follows each projection (Zhu et al., 2020); DETR
            has none.
        use_positions: whether to make positional embeddings: DETR's sines, plus a learned
            embedding of the level if there are several.
    """

    def __init__(
        self,
        spec: ViTSpec,
        channels: dict[int, int],
        *,
        strides: tuple[int, ...],
        input_norm: bool,
        use_positions: bool,
        rngs: nnx.Rngs,
    ):
        D = spec.width
        self.strides = strides
        self.use_positions = use_positions
        conv: dict[str, Any] = dict(
            kernel=1, padding="centered", use_bias=True, dtype=spec.dtype, rngs=rngs
        )
        norm: dict[str, Any] = dict(eps=1e-5, groups=group_count(D), dtype=spec.dtype)
        self.project = nnx.List([Conv(channels[s], D, **conv) for s in strides])
        self.norms = (
            nnx.List([GroupNorm(D, **norm) for _ in strides]) if input_norm else None
        )
        self.level_embed = (
            nnx.Param(jax.random.normal(rngs.params(), (len(strides), D), jnp.float32))
            if use_positions and len(strides) > 1
            else None
        )

    def __call__(self, features: Features, *, train: bool) -> Memory:
        """Returns the memory of a fusion's maps and padding mask."""
        tokens, positions, masks, levels = [], [], [], []
        for index, stride in enumerate(self.strides):
            x = self.project[index](features.maps[stride])
            if self.norms is not None:
                x = self.norms[index](x, train=train)
            B, h, w, D = x.shape
            levels.append((stride, (h, w)))
            tokens.append(x.reshape(B, h * w, D))
            real = jnp.ones((B, h, w), bool)
            if features.mask is not None:
                real = cell_mask(features.mask, stride=stride)
            masks.append(real.reshape(B, h * w))
            if self.use_positions:
                place = sine_positions(real, D)
                if self.level_embed is not None:
                    place = place + self.level_embed[...][index]
                positions.append(place.reshape(B, h * w, D).astype(x.dtype))
        return Memory(
            tokens=jnp.concatenate(tokens, axis=1),
            positions=jnp.concatenate(positions, axis=1) if positions else None,
            mask=None if features.mask is None else jnp.concatenate(masks, axis=1),
            levels=tuple(levels),
            image_hw=_image_hw(features),
        )


def _image_hw(features: Features) -> tuple[int, int]:
    """Returns `image_hw`, or the size that the finest map covers if it is not known."""
    if features.image_hw is not None:
        return features.image_hw
    stride = min(features.maps)
    h, w = features.maps[stride].shape[1:3]
    return h * stride, w * stride
