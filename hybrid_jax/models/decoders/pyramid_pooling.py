"""Pyramid pooling (PSPNet, Zhao et al., 2016): the map and its means over large regions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec


class PyramidPooling(nnx.Module):
    """Concatenates the map with its means over 1, 4, 9 and 36 regions; 3x3 convolution.

    Args:
        norm: of all convolutions, and the dtype.
        in_channels: channels of the map.
        channels: channels of each pooled map and of the result.
        bins: number of regions along each side.
    """

    def __init__(
        self,
        norm: NormSpec,
        in_channels: int,
        channels: int,
        *,
        rngs: nnx.Rngs,
        bins: tuple[int, ...] = (1, 2, 3, 6),
    ):
        self.bins = bins
        self.pooled = nnx.List(
            [ConvNorm(norm, in_channels, channels, rngs=rngs) for _ in bins]
        )
        self.fuse = ConvNorm(
            norm, in_channels + len(bins) * channels, channels, kernel=3, rngs=rngs
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

    Bin i covers the rows from floor(i * h / bins) to ceil((i + 1) * h / bins), as in
    torch's AdaptiveAvgPool2d: neighboring bins share a row where h is not a multiple of
    bins.
    """
    rows, columns = (
        jnp.asarray(_mean_weights(size, bins), x.dtype) for size in (x.shape[1], x.shape[2])
    )
    x = jnp.einsum("nh,bhwc->bnwc", rows, x)
    return jnp.einsum("mw,bnwc->bnmc", columns, x)


def _mean_weights(size: int, bins: int) -> np.ndarray:
    """Returns (bins, size): row i has the weights of the mean over bin i."""
    weights = np.zeros((bins, size))
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        weights[i, start:stop] = 1.0 / (stop - start)
    return weights
