"""A feed-forward layer with a depthwise convolution inside (PVTv2, Wang et al., 2021)."""

import jax
from flax import nnx

from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.token_pyramid import to_maps, to_tokens
from hybrid_jax.models.layers.transformer import gelu, linear
from hybrid_jax.specs import ViTSpec

_lecun_normal = nnx.initializers.lecun_normal()


class ConvFFN(nnx.Module):
    """Linear layer, 3x3 depthwise convolution shared by all levels, GELU, linear layer.

    Args:
        spec: gives the width, the GELU, the dtype and the initialization.
        hidden_dim: width between the linear layers.
    """

    def __init__(self, spec: ViTSpec, *, hidden_dim: int, rngs: nnx.Rngs):
        self.fc1 = linear(spec, spec.width, hidden_dim, rngs=rngs)
        self.conv = Conv(
            hidden_dim,
            hidden_dim,
            kernel=3,
            groups=hidden_dim,
            padding="centered",
            use_bias=True,
            kernel_init=_lecun_normal,
            dtype=spec.dtype,
            rngs=rngs,
        )
        self.fc2 = linear(spec, hidden_dim, spec.width, rngs=rngs)
        self.gelu = gelu(spec)

    def __call__(self, tokens: jax.Array, shapes: dict[int, tuple[int, int]]) -> jax.Array:
        """Maps tokens (B, N, D) to (B, N, D); `shapes` has the (h, w) of each stride."""
        maps = to_maps(self.fc1(tokens), shapes)
        mixed = {stride: self.conv(x) for stride, x in maps.items()}
        return self.fc2(self.gelu(to_tokens(mixed)))
