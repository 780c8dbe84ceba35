"""The convolution and the norm that a `ResNetSpec` describes."""

from flax import nnx

from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.folding import Norm
from hybrid_jax.models.layers.normalization import BatchNorm, GroupNorm
from hybrid_jax.specs import ResNetSpec


def conv(spec: ResNetSpec, in_channels: int, out_channels: int, **options) -> Conv:
    """Returns a convolution without bias, with the spec's padding and standardization.

    The published hybrids use TensorFlow's "same" padding; BiT and torch's BatchNorm models
    use centered padding.
    """
    same = spec.norm == "group" and not spec.preactivation
    return Conv(
        in_channels,
        out_channels,
        padding="same" if same else "centered",
        standardized=_standardization(spec),
        dtype=spec.dtype,
        **options,
    )


def norm(
    spec: ResNetSpec, channels: int, *, rngs: nnx.Rngs, scale_init: float = 1.0
) -> Norm:
    """Returns the spec's norm of (B, h, w, `channels`)."""
    if spec.norm == "batch":
        return BatchNorm(channels, scale_init=scale_init, dtype=spec.dtype, rngs=rngs)
    hybrid = spec.numerics == "vit_jax" and not spec.preactivation
    return GroupNorm(
        channels,
        eps=1e-6 if hybrid else 1e-5,
        scale_init=scale_init,
        dtype=spec.dtype,
    )


def _standardization(spec: ResNetSpec) -> str | None:
    if spec.norm == "batch":
        return None
    if spec.preactivation and spec.numerics == "vit_jax":
        return "bit"
    return spec.numerics
