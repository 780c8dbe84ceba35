"""The parts of DPT's decoder (Ranftl et al., 2021): reassemble and fusion blocks."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import BlockFeatures
from hybrid_jax.models.layers.conv_norm import NormSpec, map_norm
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.ops.bilinear import upsample_align_corners
from hybrid_jax.ops.matmul import dot_general
from hybrid_jax.ops.rescale import upsample


def upsample_by(x: jax.Array, *, factor: int, align_corners: bool) -> jax.Array:
    """Returns (B, factor * h, factor * w, C), bilinear.

    Args:
        align_corners: as in torch; published DPT weights need True. False keeps every cell
            in its place in the image.
    """
    if align_corners:
        return upsample_align_corners(x, factor=factor)
    _, h, w, _ = x.shape
    return upsample(x, (factor * h, factor * w), factor=factor)


class Reassemble(nnx.Module):
    """Turns the tokens of one block into a map of another stride.

    Args:
        width: D of the tokens.
        channels: channels of the map.
        factor: scale of the resolution: 4 and 2 upsample, 0.5 halves.
        readout: "project" concatenates the class token to every token and projects back to
            D; "ignore" drops the class token.
        dtype: compute dtype.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        *,
        factor: float,
        readout: str,
        dtype: str,
        rngs: nnx.Rngs,
    ):
        kind: dict[str, Any] = dict(
            dtype=jnp.dtype(dtype), dot_general=dot_general, rngs=rngs
        )
        self.readout = (
            nnx.Linear(2 * width, width, **kind) if readout == "project" else None
        )
        self.project = nnx.Linear(width, channels, **kind)
        self.factor = factor
        if factor == 1:
            self.resize = None
        elif factor > 1:
            # A transposed convolution with kernel size = stride is a linear layer from
            # each token to a square of cells.
            self.resize = nnx.Linear(channels, int(factor) ** 2 * channels, **kind)
        else:
            self.resize = Conv(
                channels,
                channels,
                kernel=3,
                stride=round(1 / factor),
                padding="centered",
                use_bias=True,
                dtype=dtype,
                rngs=rngs,
            )

    def __call__(self, features: BlockFeatures) -> jax.Array:
        """Maps tokens (B, h, w, D) to (B, factor * h, factor * w, channels)."""
        x = features.map
        if self.readout is not None:
            # Without a class token the mean of the tokens replaces it.
            cls = x.mean((1, 2)) if features.cls is None else features.cls
            cls = jnp.broadcast_to(cls[:, None, None], x.shape)
            x = self.readout(jnp.concatenate([x, cls], axis=-1))
            x = jax.nn.gelu(x, approximate=False)
        x = self.project(x)
        if self.factor <= 1:
            return x if self.resize is None else self.resize(x)
        (B, h, w, C), n = x.shape, int(self.factor)
        assert self.resize is not None  # a factor above 1 has one
        x = self.resize(x).reshape(B, h, w, n, n, C).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(B, h * n, w * n, C)


class ResidualUnit(nnx.Module):
    """Twice ReLU and 3x3 convolution, plus the input (RefineNet, Lin et al., 2016).

    Args:
        residual_norm: whether a norm follows each convolution, instead of a bias.
    """

    def __init__(
        self, norm: NormSpec, channels: int, *, residual_norm: bool, rngs: nnx.Rngs
    ):
        self.convs = nnx.List(
            [
                Conv(
                    channels,
                    channels,
                    kernel=3,
                    padding="centered",
                    use_bias=not residual_norm,
                    dtype=norm.dtype,
                    rngs=rngs,
                )
                for _ in range(2)
            ]
        )
        norms = [
            map_norm(norm, channels, rngs=rngs) for _ in range(2 if residual_norm else 0)
        ]
        self.norms = nnx.List(norms)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C) to the same shape."""
        y = x
        for index, conv in enumerate(self.convs):
            y = conv(jax.nn.relu(y))
            if self.norms:
                y = self.norms[index](y, train=train)
        return x + y

    def fold_in_place(self) -> None:
        """Folds each norm into the convolution before it, see `layers/folding.py`."""
        for index, norm in enumerate(self.norms):
            self.norms[index] = norm.folded_into(self.convs[index])


class Fusion(nnx.Module):
    """Adds a level to the output of the next coarser one and upsamples the sum twofold.

    Args:
        coarsest: whether this is the coarsest level, to which nothing is added.
        residual_norm: see `ResidualUnit`.
        align_corners: see `upsample_by`.
    """

    def __init__(
        self,
        norm: NormSpec,
        channels: int,
        *,
        coarsest: bool,
        residual_norm: bool,
        align_corners: bool,
        rngs: nnx.Rngs,
    ):
        unit: dict[str, Any] = dict(residual_norm=residual_norm, rngs=rngs)
        self.level = None if coarsest else ResidualUnit(norm, channels, **unit)
        self.sum = ResidualUnit(norm, channels, **unit)
        self.project = nnx.Linear(
            channels,
            channels,
            dtype=jnp.dtype(norm.dtype),
            dot_general=dot_general,
            rngs=rngs,
        )
        self.align_corners = align_corners

    def __call__(
        self, level: jax.Array, coarser: jax.Array | None, *, train: bool
    ) -> jax.Array:
        """Maps a level (B, h, w, C) to (B, 2 h, 2 w, C).

        Args:
            coarser: output of the next coarser level, cropped to (h, w).
        """
        if coarser is not None:
            assert self.level is not None  # only the coarsest level has none
            h, w = level.shape[1:3]
            level = coarser[:, :h, :w] + self.level(level, train=train)
        x = self.sum(level, train=train)
        return self.project(upsample_by(x, factor=2, align_corners=self.align_corners))


class Decoder(nnx.Module):
    """Projects levels to equal channels and fuses them from coarse to fine.

    Args:
        in_channels: channels of the levels, fine to coarse; strides double.
        channels: C of the returned maps.
        residual_norm: see `ResidualUnit`.
        align_corners: see `upsample_by`.
    """

    def __init__(
        self,
        norm: NormSpec,
        in_channels: tuple[int, ...],
        channels: int,
        *,
        residual_norm: bool,
        align_corners: bool,
        rngs: nnx.Rngs,
    ):
        conv: dict[str, Any] = dict(
            kernel=3, padding="centered", dtype=norm.dtype, rngs=rngs
        )
        self.convs = nnx.List([Conv(c, channels, **conv) for c in in_channels])
        kind: dict[str, Any] = dict(
            residual_norm=residual_norm, align_corners=align_corners, rngs=rngs
        )
        last = len(in_channels) - 1
        self.fusions = nnx.List(
            [Fusion(norm, channels, coarsest=n == last, **kind) for n in range(last + 1)]
        )

    def __call__(self, levels: list[jax.Array], *, train: bool) -> list[jax.Array]:
        """Maps levels (B, h, w, C_in) to fused ones (B, 2 h, 2 w, C), fine to coarse."""
        fused: list[jax.Array] = []
        stages = zip(levels, self.convs, self.fusions, strict=True)
        for level, conv, fusion in [*stages][::-1]:
            fused.insert(0, fusion(conv(level), fused[0] if fused else None, train=train))
        return fused
