"""`linear`: classification by one linear layer on the pooled features."""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.models.heads import HEADS
from hybrid_jax.outputs import ClassificationOutputs
from hybrid_jax.specs import Dtype


@HEADS.register("linear")
class Linear(nnx.Module):
    """Returns class logits; starts at zero, as in the published hybrids.

    Args:
        channels: stride -> C of the maps a fusion gives; not used.
        width: D of the pooled features.
        num_classes: K.
        dtype: compute dtype of heads; not used: this head is small and runs in float32.
    """

    task = "classification"
    strides = ()

    def __init__(
        self,
        channels: dict[int, int],
        *,
        width: int,
        num_classes: int,
        dtype: Dtype,
        rngs: nnx.Rngs,
    ):
        self.logits = nnx.Linear(
            width, num_classes, kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> ClassificationOutputs:
        """Maps pooled (B, D) in any dtype to logits (B, K) in float32."""
        return ClassificationOutputs(self.logits(features.pooled.astype(jnp.float32)))
