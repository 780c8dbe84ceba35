"""What a query says: the class of its object and where it lies."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.layers.transformer import linear
from hybrid_jax.specs import ViTSpec

# Share of queries thought to hold an object at first (Lin et al., 2017).
_PRIOR = 0.01


class BoxHead(nnx.Module):
    """One linear map for the classes, three with ReLUs for the box, in float32.

    Args:
        spec: gives the width.
        columns: of the logits: K, or K + 1 with one for "no object".
        rare: whether all classes begin as improbable, as sigmoids need it.
        silent: the box begins at zero, so that what it is added to is kept at first.
    """

    def __init__(
        self, spec: ViTSpec, columns: int, *, rare: bool, silent: bool, rngs: nnx.Rngs
    ):
        D = spec.width
        init = nnx.initializers.zeros if silent else nnx.initializers.xavier_uniform()
        self.logits = nnx.Linear(D, columns, rngs=rngs)
        if rare:
            odds = -math.log((1.0 - _PRIOR) / _PRIOR)
            self.logits.bias[...] = jnp.full(columns, odds, jnp.float32)
        exact = ViTSpec(width=D, heads=1, dtype="float32")
        self.box1 = linear(exact, D, D, rngs=rngs)
        self.box2 = linear(exact, D, D, rngs=rngs)
        self.box3 = linear(exact, D, 4, rngs=rngs, kernel_init=init)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps (B, Q, D) to logits (B, Q, columns) and boxes before a sigmoid (B, Q, 4)."""
        x = x.astype(jnp.float32)
        y = jax.nn.relu(self.box2(jax.nn.relu(self.box1(x))))
        return self.logits(x), self.box3(y)


def inverse_sigmoid(shares: jax.Array) -> jax.Array:
    """Returns what a sigmoid makes these shares of; 0 and 1 are kept off by 1e-5."""
    shares = jnp.clip(shares, 1e-5, 1.0 - 1e-5)
    return jnp.log(shares) - jnp.log1p(-shares)
