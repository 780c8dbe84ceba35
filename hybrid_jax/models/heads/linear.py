"""`linear`: classification by one linear layer on the pooled features.

With `representation_size` R, a tanh layer comes before it: logits = W tanh(V x), as in the
ViTs that were pre-trained in 2020 (`pre_logits` in their files).
"""

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
        representation_size: R of the tanh layer before the logits; 0 for none.
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
        representation_size: int = 0,
    ):
        size = representation_size
        self.pre_logits = nnx.Linear(width, size, rngs=rngs) if size else None
        self.logits = nnx.Linear(
            size or width, num_classes, kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> ClassificationOutputs:
        """Maps pooled (B, D) in any dtype to logits (B, K) in float32."""
        pooled = features.pooled.astype(jnp.float32)
        if self.pre_logits is not None:
            pooled = jnp.tanh(self.pre_logits(pooled))
        return ClassificationOutputs(self.logits(pooled))
