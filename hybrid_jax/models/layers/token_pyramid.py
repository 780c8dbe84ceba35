"""Maps of several strides as one token sequence, and their sum with a ViT's map."""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.conv_norm import NormSpec, map_norm
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.ops.rescale import to_stride, upsample


def to_tokens(maps: dict[int, jax.Array]) -> jax.Array:
    """Flattens maps {stride: (B, h, w, D)} to tokens (B, sum of h * w, D), in order."""
    flat = [x.reshape(x.shape[0], -1, x.shape[-1]) for x in maps.values()]
    return jnp.concatenate(flat, axis=1)


def to_maps(tokens: jax.Array, shapes: dict[int, tuple[int, int]]) -> dict[int, jax.Array]:
    """Inverse of `to_tokens`; `shapes` has the (h, w) of each stride."""
    maps, before = {}, 0
    for stride, (h, w) in shapes.items():
        flat = tokens[:, before : before + h * w]
        maps[stride] = flat.reshape(tokens.shape[0], h, w, -1)
        before += h * w
    return maps


def add_to_level(
    tokens: jax.Array, x: jax.Array, *, shapes: dict[int, tuple[int, int]], stride: int
) -> jax.Array:
    """Adds a map (B, h, w, D) to the tokens of the level with the same stride."""
    maps = to_maps(tokens, shapes)
    maps[stride] = maps[stride] + x.astype(tokens.dtype)
    return to_tokens(maps)


class JoinedPyramid(nnx.Module):
    """Sums an adapter's maps with the ViT's map at every stride.

        maps[s] = to_stride(x) + norm(c_s),    first c_4 += upsample(conv1x1(c_8))

    At the ViT's own stride the norm starts at zero, so that this map starts as the ViT's.

    Args:
        norm: of the maps, and the dtype.
        strides: of the maps, fine to coarse.
        vit_stride: stride of the ViT's map, one of `strides`.
        width: D of all maps.
    """

    def __init__(
        self,
        norm: NormSpec,
        *,
        strides: tuple[int, ...],
        vit_stride: int,
        width: int,
        rngs: nnx.Rngs,
    ):
        self.strides, self.vit_stride = strides, vit_stride
        self.lift = Conv(width, width, kernel=1, dtype=norm.dtype, rngs=rngs)
        self.norms = nnx.List(
            [
                map_norm(norm, width, scale_init=float(s != vit_stride), rngs=rngs)
                for s in strides
            ]
        )

    def __call__(
        self, maps: dict[int, jax.Array], x: jax.Array, *, train: bool
    ) -> dict[int, jax.Array]:
        """Maps {stride: (B, h, w, D)} and the ViT's (B, h, w, D) to {stride: ...}."""
        finest, second = self.strides[:2]
        lifted = upsample(
            self.lift(maps[second]), hw_of(maps[finest]), factor=second // finest
        )
        maps = maps | {finest: maps[finest] + lifted}
        out = {}
        for stride, norm in zip(self.strides, self.norms, strict=True):
            hw = hw_of(maps[stride])
            here = to_stride(x, hw, old=self.vit_stride, new=stride)
            out[stride] = here + norm(maps[stride], train=train).astype(x.dtype)
        return out
