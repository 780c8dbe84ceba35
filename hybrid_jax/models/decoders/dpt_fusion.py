"""The pieces of DPT's decoder (Ranftl et al., 2021): reassembling tokens, fusing scales."""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import BlockFeatures
from hybrid_jax.models.layers.conv_norm import map_norm
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.folding import folded_norm
from hybrid_jax.ops.bilinear import enlarge_by_corners
from hybrid_jax.ops.rescale import upsample
from hybrid_jax.specs import ResNetSpec


def enlarge(x: jax.Array, *, factor: int, by_corners: bool) -> jax.Array:
    """Enlarges (B, h, w, C) bilinearly: as published weights want it, or cell by cell."""
    if by_corners:
        return enlarge_by_corners(x, factor=factor)
    hw = tuple(factor * side for side in x.shape[1:3])
    return upsample(x, hw, factor=factor)


class Reassemble(nnx.Module):
    """Tokens after one block as a map of any stride.

    Args:
        width: D of the tokens.
        channels: of the map.
        factor: how many cells each token becomes along a side; 0.5 for one cell of two
            tokens.
        readout: what becomes of the class token: "project" tells it to every token,
            "ignore" leaves it out.
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
        kind = dict(dtype=jnp.dtype(dtype), rngs=rngs)
        self.readout = (
            nnx.Linear(2 * width, width, **kind) if readout == "project" else None
        )
        self.project = nnx.Linear(width, channels, **kind)
        self.factor = factor
        if factor == 1:
            self.resize = None
        elif factor > 1:
            # A transposed convolution whose windows do not overlap is a linear map of
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
        """Maps a block's features (B, h, w, D) to (B, h', w', channels)."""
        x = features.map
        if self.readout is not None:
            # Without a class token the mean stands in for it.
            cls = x.mean((1, 2)) if features.cls is None else features.cls
            cls = jnp.broadcast_to(cls[:, None, None], x.shape)
            x = self.readout(jnp.concatenate([x, cls], axis=-1))
            x = jax.nn.gelu(x, approximate=False)
        x = self.project(x)
        if self.factor <= 1:
            return x if self.resize is None else self.resize(x)
        (B, h, w, C), n = x.shape, int(self.factor)
        x = self.resize(x).reshape(B, h, w, n, n, C).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(B, h * n, w * n, C)


class ResidualUnit(nnx.Module):
    """ReLU and 3x3 convolution, twice, added to what came in (RefineNet, Lin et al., 2016).

    Args:
        normed: whether a norm follows each convolution, in place of its bias.
    """

    def __init__(self, spec: ResNetSpec, channels: int, *, normed: bool, rngs: nnx.Rngs):
        self.convs = nnx.List(
            [
                Conv(
                    channels,
                    channels,
                    kernel=3,
                    padding="centered",
                    use_bias=not normed,
                    dtype=spec.dtype,
                    rngs=rngs,
                )
                for _ in range(2)
            ]
        )
        norms = [map_norm(spec, channels, rngs=rngs) for _ in range(2 if normed else 0)]
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
            self.norms[index] = folded_norm(self.convs[index], norm)


class Fusion(nnx.Module):
    """Adds a level to what comes from the coarser ones, and enlarges the sum twofold.

    Args:
        coarsest: there is nothing coarser; nothing is added.
        normed: see `ResidualUnit`.
        by_corners: how it enlarges, see `enlarge`.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        channels: int,
        *,
        coarsest: bool,
        normed: bool,
        by_corners: bool,
        rngs: nnx.Rngs,
    ):
        unit = dict(normed=normed, rngs=rngs)
        self.level = None if coarsest else ResidualUnit(spec, channels, **unit)
        self.sum = ResidualUnit(spec, channels, **unit)
        self.project = nnx.Linear(
            channels, channels, dtype=jnp.dtype(spec.dtype), rngs=rngs
        )
        self.by_corners = by_corners

    def __call__(
        self, level: jax.Array, coarser: jax.Array | None, *, train: bool
    ) -> jax.Array:
        """Maps a level (B, h, w, C) to (B, 2 h, 2 w, C).

        Args:
            coarser: what the next coarser level has returned; it may reach past this one.
        """
        if coarser is not None:
            h, w = level.shape[1:3]
            level = coarser[:, :h, :w] + self.level(level, train=train)
        x = self.sum(level, train=train)
        return self.project(enlarge(x, factor=2, by_corners=self.by_corners))


class Decoder(nnx.Module):
    """Brings levels to as many channels and fuses them from coarse to fine.

    Args:
        in_channels: of the levels, fine to coarse, each half as large as the one before.
        channels: C of what it returns.
        normed: see `ResidualUnit`.
        by_corners: see `enlarge`.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: tuple[int, ...],
        channels: int,
        *,
        normed: bool,
        by_corners: bool,
        rngs: nnx.Rngs,
    ):
        conv = dict(kernel=3, padding="centered", dtype=spec.dtype, rngs=rngs)
        self.convs = nnx.List([Conv(c, channels, **conv) for c in in_channels])
        kind = dict(normed=normed, by_corners=by_corners, rngs=rngs)
        last = len(in_channels) - 1
        self.fusions = nnx.List(
            [Fusion(spec, channels, coarsest=n == last, **kind) for n in range(last + 1)]
        )

    def __call__(self, levels: list[jax.Array], *, train: bool) -> list[jax.Array]:
        """Maps levels (B, h, w, C_in) to fused ones (B, 2 h, 2 w, C), fine to coarse."""
        fused: list[jax.Array] = []
        stages = zip(levels, self.convs, self.fusions, strict=True)
        for level, conv, fusion in [*stages][::-1]:
            fused.insert(0, fusion(conv(level), fused[0] if fused else None, train=train))
        return fused
