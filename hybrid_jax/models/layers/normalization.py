"""Normalization of feature maps; statistics in float32 for any compute dtype."""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.folding import FoldedNorm
from hybrid_jax.models.layers.replaced import Statistic


class GroupNorm(nnx.Module):
    """GroupNorm (Wu & He, 2018) over (B, h, w, C), in two passes over the map.

    The first pass computes the means of x and x squared per channel, the second applies one
    scale and one offset per image and channel. Groups are formed on the (B, C) means.

    Args:
        channels: C.
        eps: added to the variance.
        scale_init: initial scale; 0.0 makes a residual branch start at zero.
        groups: number of groups of channels.
        dtype: dtype of the output.
    """

    def __init__(
        self,
        channels: int,
        *,
        eps: float,
        scale_init: float = 1.0,
        groups: int = 32,
        dtype: str = "float32",
    ):
        self.scale = nnx.Param(jnp.full(channels, scale_init, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.eps = eps
        self.groups = groups
        self.dtype = jnp.dtype(dtype)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        B, h, w, C = x.shape
        x32 = x.astype(jnp.float32)
        mean = self._group_mean(x32.mean((1, 2)))  # (B, C)
        square = self._group_mean(jnp.square(x32).mean((1, 2)))
        # Rounding can make the difference negative.
        variance = jnp.maximum(square - jnp.square(mean), 0.0)
        scale = self.scale[...] * jax.lax.rsqrt(variance + self.eps)
        offset = self.bias[...] - mean * scale
        return (x32 * scale[:, None, None] + offset[:, None, None]).astype(self.dtype)

    def folded_into(self, conv: Conv) -> "GroupNorm":
        """Returns itself: its statistics are computed from each image."""
        return self

    def _group_mean(self, sums: jax.Array) -> jax.Array:
        """Returns (B, C): for every channel the mean over its group."""
        B, C = sums.shape
        means = sums.reshape(B, self.groups, -1).mean(-1, keepdims=True)
        return jnp.broadcast_to(means, (B, self.groups, C // self.groups)).reshape(B, C)


class BatchNorm(nnx.BatchNorm):
    """BatchNorm with torch's momentum; under a mesh, statistics are of the global batch.

    Flax casts the running statistics to the compute dtype, which lowers the accuracy of
    bfloat16 models in evaluation; here they stay float32 and only the output is cast.

    Attributes:
        fixed: whether to use the running statistics in training too, without updating
            them; for frozen parts.
    """

    def __init__(self, channels: int, *, scale_init: float, dtype: str, rngs: nnx.Rngs):
        super().__init__(
            channels,
            momentum=0.9,
            epsilon=1e-5,
            dtype=jnp.float32,
            scale_init=nnx.initializers.constant(scale_init),
            rngs=rngs,
        )
        self.mean, self.var = (Statistic(x.get_value()) for x in (self.mean, self.var))
        self.output_dtype = jnp.dtype(dtype)
        self.fixed = False

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = super().__call__(x, use_running_average=self.fixed or not train)
        return y.astype(self.output_dtype)

    def folded_into(self, conv: Conv) -> FoldedNorm:
        """Folds the scale and offset of eval mode into the convolution directly before."""
        # A BatchNorm is always built with both.
        assert self.scale is not None
        assert self.bias is not None
        conv.scale_and_shift(
            *_scale_and_offset(
                self.scale[...], self.bias[...], self.mean[...], self.var[...], self.epsilon
            )
        )
        return FoldedNorm()


@jax.jit
def _scale_and_offset(scale, bias, mean, variance, epsilon):
    scale = scale * jax.lax.rsqrt(variance + epsilon)
    return scale, bias - mean * scale
