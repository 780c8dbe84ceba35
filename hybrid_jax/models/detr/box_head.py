"""The prediction head of a query: class logits and a box."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.layers.transformer import linear
from hybrid_jax.ops.matmul import dot_general
from hybrid_jax.specs import ViTSpec

# Initial probability that a query holds an object (Lin et al., 2017).
_PRIOR = 0.01


class BoxHead(nnx.Module):
    """A linear layer for the class logits and a three-layer MLP for the box, in float32.

    Args:
        spec: gives the width.
        columns: number of logits: K, or K + 1 with one for "no object".
        prior_bias: initializes the bias of the logits so that each class has a
            probability of 0.01 under a sigmoid.
        zero_init: the last layer of the box starts at zero, so that the head first
            returns the reference box unchanged.
    """

    def __init__(
        self,
        spec: ViTSpec,
        columns: int,
        *,
        prior_bias: bool,
        zero_init: bool,
        rngs: nnx.Rngs,
    ):
        D = spec.width
        init = nnx.initializers.zeros if zero_init else nnx.initializers.xavier_uniform()
        odds = -math.log((1.0 - _PRIOR) / _PRIOR) if prior_bias else 0.0
        self.logits = nnx.Linear(
            D,
            columns,
            bias_init=nnx.initializers.constant(odds),
            dot_general=dot_general,
            rngs=rngs,
        )
        exact = ViTSpec(width=D, num_heads=1, dtype="float32")
        self.box1 = linear(exact, D, D, rngs=rngs)
        self.box2 = linear(exact, D, D, rngs=rngs)
        self.box3 = linear(exact, D, 4, rngs=rngs, kernel_init=init)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps (B, Q, D) to logits (B, Q, columns) and boxes before a sigmoid (B, Q, 4)."""
        x = x.astype(jnp.float32)
        y = jax.nn.relu(self.box2(jax.nn.relu(self.box1(x))))
        return self.logits(x), self.box3(y)


def inverse_sigmoid(x: jax.Array) -> jax.Array:
    """Returns the logits of numbers in [0, 1], which are clipped to [1e-5, 1 - 1e-5]."""
    x = jnp.clip(x, 1e-5, 1.0 - 1e-5)
    return jnp.log(x) - jnp.log1p(-x)
