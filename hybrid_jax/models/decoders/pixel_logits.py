"""The last layers of segmentation heads: from a map to class logits of every cell."""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.transformer import dropout
from hybrid_jax.ops.matmul import dot_general


def class_logits(channels: int, num_classes: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """Returns a linear classifier in float32 with small initial weights (std 0.01)."""
    small = nnx.initializers.normal(0.01)
    return nnx.Linear(
        channels, num_classes, kernel_init=small, dot_general=dot_general, rngs=rngs
    )


class PixelClassifier(nnx.Module):
    """3x3 convolution, norm, ReLU, dropout, 1x1 convolution to the classes.

    The FCN head (Long et al., 2015) that PSPNet (Zhao et al., 2016) and UPerNet use as
    auxiliary classifier.

    Args:
        norm: of the convolution, and the dtype.
        channels: channels of the map.
        hidden_dim: channels of the 3x3 convolution.
        num_classes: K.
        dropout: rate in training.
    """

    def __init__(
        self,
        norm: NormSpec,
        channels: int,
        hidden_dim: int,
        *,
        num_classes: int,
        rngs: nnx.Rngs,
        dropout: float = 0.1,
    ):
        self.conv = ConvNorm(norm, channels, hidden_dim, kernel=3, rngs=rngs)
        self.logits = class_logits(hidden_dim, num_classes, rngs=rngs)
        self.dropout = dropout

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps (B, h, w, channels) to logits (B, h, w, K) float32."""
        x = dropout(
            self.conv(x, train=train), rate=self.dropout, key=key if train else None
        )
        return self.logits(x.astype(jnp.float32))
