"""`linear_pixels`: one linear layer on every cell of one map.

FCN without an upsampling path (Long et al., 2015), or the linear decoder of Segmenter
(Strudel et al., 2021). It measures the features of a backbone by themselves.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.pixel_logits import class_logits
from hybrid_jax.models.heads import HEADS
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.specs import Dtype


@HEADS.register("linear_pixels")
class LinearPixels(nnx.Module):
    """Returns class logits of every cell of one map.

    Args:
        channels: stride -> C of the maps.
        width: D of the pooled features; not used.
        num_classes: K.
        dtype: compute dtype of heads; not used: this head is small and runs in float32.
        strides: one stride, that of the map it reads.

    Raises:
        UserError: not exactly one stride.
    """

    task = "segmentation"
    strides = (16,)

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: Dtype,
        rngs: nnx.Rngs,
        strides: tuple[int, ...] = (16,),
    ):
        if len(strides) != 1:
            raise UserError(
                f"head 'linear_pixels': strides: expected one stride, such as (16,), got "
                f"{tuple(strides)}. Use the head 'fpn' for several strides."
            )
        (self.stride,) = strides
        self.logits = class_logits(channels[self.stride], num_classes, rngs=rngs)

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> SegmentationOutputs:
        """Maps (B, h, w, C) to logits (B, h, w, K)."""
        x = features.maps[self.stride].astype(jnp.float32)
        return SegmentationOutputs(logits=self.logits(x), stride=self.stride)
