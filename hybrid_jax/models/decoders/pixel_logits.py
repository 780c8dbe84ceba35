"""The last layers of segmentation heads: from a map to logits of every cell."""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.layers.conv_norm import ConvNorm
from hybrid_jax.models.layers.transformer import drop
from hybrid_jax.specs import ResNetSpec


def class_logits(channels: int, num_classes: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """Returns the 1x1 map from channels to classes, float32, nearly zero at first."""
    small = nnx.initializers.normal(0.01)
    return nnx.Linear(channels, num_classes, kernel_init=small, rngs=rngs)


class PixelReading(nnx.Module):
    """A 3x3 convolution with norm and ReLU, dropout, and a 1x1 to the classes.

    The auxiliary classifier of FCN type (Long et al., 2015) as PSPNet (Zhao et al., 2016)
    and UPerNet have it.

    Args:
        spec: gives norm and dtype.
        channels: of the map.
        hidden: channels in between.
        num_classes: K.
        dropout: rate in training.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        channels: int,
        hidden: int,
        *,
        num_classes: int,
        rngs: nnx.Rngs,
        dropout: float = 0.1,
    ):
        self.conv = ConvNorm(spec, channels, hidden, kernel=3, rngs=rngs)
        self.logits = class_logits(hidden, num_classes, rngs=rngs)
        self.dropout = dropout

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps (B, h, w, channels) to logits (B, h, w, K) float32."""
        x = drop(self.conv(x, train=train), rate=self.dropout, key=key if train else None)
        return self.logits(x.astype(jnp.float32))
