"""The convolution and the norm that a `ResNetSpec` asks for."""

from flax import nnx

from hybrid_jax.models.convolution import Conv
from hybrid_jax.models.normalisation import BatchNorm, GroupNorm
from hybrid_jax.specs import ResNetSpec


def conv(spec: ResNetSpec, in_channels: int, out_channels: int, **options) -> Conv:
    """Returns a convolution without a bias that pads and standardises as the spec says.

    The published hybrids pad like TensorFlow; BiT and torch's BatchNorm models centred.
    """
    same = spec.norm == "group" and not spec.preactivation
    return Conv(
        in_channels,
        out_channels,
        padding="same" if same else "centred",
        standardised=_standardisation(spec),
        dtype=spec.dtype,
        **options,
    )


def norm(
    spec: ResNetSpec, channels: int, *, rngs: nnx.Rngs, scale_init: float = 1.0
) -> nnx.Module:
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


def _standardisation(spec: ResNetSpec) -> str | None:
    if spec.norm == "batch":
        return None
    if spec.preactivation and spec.numerics == "vit_jax":
        return "bit"
    return spec.numerics
