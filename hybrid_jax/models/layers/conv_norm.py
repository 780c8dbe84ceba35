"""Convolution, norm and activation: the building block of necks and fusions."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.folding import FoldedNorm, Norm
from hybrid_jax.models.layers.normalization import BatchNorm, GroupNorm
from hybrid_jax.specs import Dtype, ResNetSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormSpec:
    """The norm and the compute dtype of convolutions outside of a ResNet's own blocks.

    Attributes:
        norm: "group" or "batch".
        eps: of GroupNorm, added to the variance.
        dtype: compute dtype.

    Raises:
        UserError: another norm.
    """

    norm: Literal["group", "batch"] = "group"
    eps: float = 1e-6
    dtype: Dtype = "float32"

    def __post_init__(self):
        if self.norm not in ("group", "batch"):
            raise UserError(f"norm: expected 'group' or 'batch', got {self.norm!r}.")

    @classmethod
    def of(cls, spec: ResNetSpec) -> "NormSpec":
        """Returns what the spec says of them."""
        eps = {"vit_jax": 1e-6, "timm": 1e-5}[spec.numerics]
        return cls(norm=spec.norm, eps=eps, dtype=spec.dtype)


class ConvNorm(nnx.Module):
    """A convolution without bias, a norm and an activation.

    Args:
        norm: which, and the dtype; kernels are not standardized.
        activation: applied last; None for none.
        groups: groups of the convolution; equal to both channel counts for depthwise.
        scale_init: initial scale of the norm; 0.0 makes a residual branch start at zero.
    """

    def __init__(
        self,
        norm: NormSpec,
        in_channels: int,
        out_channels: int,
        *,
        rngs: nnx.Rngs,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[jax.Array], jax.Array] | None = jax.nn.relu,
        scale_init: float = 1.0,
    ):
        self.conv = Conv(
            in_channels,
            out_channels,
            kernel=kernel,
            stride=stride,
            padding="end" if kernel == stride > 1 else "centered",
            groups=groups,
            dtype=norm.dtype,
            rngs=rngs,
        )
        self.norm = map_norm(norm, out_channels, scale_init=scale_init, rngs=rngs)
        self.activation = activation

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, h, w, C_in) to (B, ceil(h / stride), ceil(w / stride), C_out)."""
        x = self.norm(self.conv(x), train=train)
        return x if self.activation is None else self.activation(x)

    def fold_in_place(self) -> None:
        """Folds the norm into the convolution, see `models/layers/folding.py`."""
        self.norm = self.norm.folded_into(self.conv)

    @property
    def is_folded(self) -> bool:
        """Whether the norm has been folded into the convolution."""
        return isinstance(self.norm, FoldedNorm)


def map_norm(
    norm: NormSpec, channels: int, *, rngs: nnx.Rngs, scale_init: float = 1.0
) -> Norm:
    """Returns the kind of norm that is asked for, of any number of channels.

    GroupNorm has 32 groups from 128 channels on, and fewer below, see `group_count`.
    """
    if norm.norm == "batch":
        return BatchNorm(channels, scale_init=scale_init, dtype=norm.dtype, rngs=rngs)
    return GroupNorm(
        channels,
        eps=norm.eps,
        scale_init=scale_init,
        groups=group_count(channels),
        dtype=norm.dtype,
    )


def group_count(channels: int) -> int:
    """Returns the largest power of two up to 32 that leaves 4 or more channels per group.

    Groups of one channel would remove the channel's mean over the image: a map of one cell
    would be zero, with zero gradient.
    """
    fitting = (n for n in (32, 16, 8, 4, 2) if channels % n == 0 and channels // n >= 4)
    return next(fitting, 1)
