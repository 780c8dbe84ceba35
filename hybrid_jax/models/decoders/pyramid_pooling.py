"""Pyramid pooling (Zhao et al., 2016): cells are told the means of ever larger regions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.models.layers.conv_norm import ConvNorm
from hybrid_jax.specs import ResNetSpec


class PyramidPooling(nnx.Module):
    """Means over 1, 4, 9 and 36 regions, each under a 1x1, beside the map itself.

    Args:
        spec: gives norm and dtype.
        in_channels: of the map.
        channels: of each pooled map and of the result.
        bins: regions along each side.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: int,
        channels: int,
        *,
        rngs: nnx.Rngs,
        bins: tuple[int, ...] = (1, 2, 3, 6),
    ):
        self.bins = bins
        self.pooled = nnx.List(
            [ConvNorm(spec, in_channels, channels, rngs=rngs) for _ in bins]
        )
        self.fuse = ConvNorm(
            spec, in_channels + len(bins) * channels, channels, kernel=3, rngs=rngs
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, in_channels) to (B, h, w, channels)."""
        B, h, w, _ = x.shape
        levels = [x]
        for bins, conv in zip(self.bins, self.pooled, strict=True):
            level = conv(adaptive_mean(x, bins=bins), train=train)
            shape = (B, h, w, level.shape[-1])
            levels.append(jax.image.resize(level, shape, "linear").astype(x.dtype))
        return self.fuse(jnp.concatenate(levels, axis=-1), train=train)


def adaptive_mean(x: jax.Array, *, bins: int) -> jax.Array:
    """Averages (B, h, w, C) to (B, bins, bins, C).

    Bin i covers the rows from floor(i * h / bins) to ceil((i + 1) * h / bins), so that
    neighbors share a row where h is no multiple, and repeat rows where h is smaller.
    """
    rows, columns = (
        jnp.asarray(_shares(size, bins), x.dtype) for size in (x.shape[1], x.shape[2])
    )
    x = jnp.einsum("nh,bhwc->bnwc", rows, x)
    return jnp.einsum("mw,bnwc->bnmc", columns, x)


def _shares(size: int, bins: int) -> np.ndarray:
    """Returns (bins, size): each row is the mean over one bin."""
    shares = np.zeros((bins, size))
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        shares[i, start:stop] = 1.0 / (stop - start)
    return shares
