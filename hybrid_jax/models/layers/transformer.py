"""The pre-norm transformer block of ViT (Dosovitskiy et al., 2020) and its layers."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.ops.matmul import dot_general, matmul
from hybrid_jax.ops.platform import platform
from hybrid_jax.ops.positions import rotate
from hybrid_jax.specs import ViTSpec

_xavier = nnx.initializers.xavier_uniform()


def linear(spec: ViTSpec, in_dim: int, out_dim: int, *, rngs: nnx.Rngs, **kw):
    """Returns a Linear in the spec's dtype with ViT's xavier initialization."""
    kw.setdefault("kernel_init", _xavier)
    kw |= dict(dtype=jnp.dtype(spec.dtype), dot_general=dot_general)
    return nnx.Linear(in_dim, out_dim, rngs=rngs, **kw)


def layer_norm(spec: ViTSpec, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Returns a LayerNorm of the spec's width and epsilon; statistics in float32."""
    return nnx.LayerNorm(
        spec.width, epsilon=spec.norm_eps, dtype=jnp.dtype(spec.dtype), rngs=rngs
    )


def gelu(spec: ViTSpec) -> Callable[[jax.Array], jax.Array]:
    """Returns the spec's form of GELU.

    On GPUs, its gradient is computed from its input again. What JAX keeps for it otherwise
    is a second array of the size of the hidden layer, and hinders cuBLAS from computing
    the GELU in the product before it.
    """
    return functools.partial(_gelu, approximate=spec.gelu == "tanh")


def _gelu(x: jax.Array, *, approximate: bool) -> jax.Array:
    form = functools.partial(jax.nn.gelu, approximate=approximate)
    return jax.checkpoint(form)(x) if platform() == "gpu" else form(x)


def dropout(
    x: jax.Array,
    *,
    rate: float | jax.Array,
    key: jax.Array | None,
    per_example: bool = False,
) -> jax.Array:
    """Returns `x` after dropout, or drop path if `per_example`; `x` itself without key.

    Args:
        rate: in [0, 1); an array () inside a loop whose rounds have their own rates.
    """
    if key is None or (not isinstance(rate, jax.Array) and rate == 0.0):
        return x
    shape = (x.shape[0],) + (1,) * (x.ndim - 1) if per_example else x.shape
    kept = jax.random.bernoulli(key, 1.0 - rate, shape)
    return jnp.where(kept, x / jnp.asarray(1.0 - rate, x.dtype), 0.0).astype(x.dtype)


class JointProjection(nnx.Module):
    """Query, key and value projections with one kernel (D, 3, D).

    The last axis of the kernel can be sharded by heads, so that each device has query, key
    and value of its own heads; with (D, 3 D) it could not. Three products instead of one
    need no split afterwards: the TPU compiler estimates a quarter less time for the
    attention of a block and its gradient.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        keys = jax.random.split(rngs.params(), 3)
        parts = [_xavier(key, (spec.width, spec.width), jnp.float32) for key in keys]
        rngs.params()  # as in nnx.Linear, whose bias takes a key; keeps later inits equal
        self.kernel = nnx.Param(jnp.stack(parts, axis=1))
        self.bias = nnx.Param(jnp.zeros((3, spec.width)))
        self.dtype = jnp.dtype(spec.dtype)

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Maps tokens (B, N, D) to query, key and value, (B, N, D) each."""
        x = x.astype(self.dtype)
        kernel, bias = (
            self.kernel[...].astype(self.dtype),
            self.bias[...].astype(self.dtype),
        )
        return [matmul(x, kernel[:, part]) + bias[part] for part in range(3)]


class Attention(nnx.Module):
    """Multi-head self-attention."""

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.qkv = JointProjection(spec, rngs=rngs)
        self.out = linear(spec, spec.width, spec.width, rngs=rngs)
        self.num_heads = spec.num_heads

    def __call__(self, x: jax.Array, *, rotation=None, bias=None, mask=None) -> jax.Array:
        query, key, value = self.project(x, rotation=rotation)
        y = attention(query, key, value, bias=bias, mask=mask)
        return self.out(y.reshape(x.shape))

    def project(self, x: jax.Array, *, rotation=None) -> tuple[jax.Array, ...]:
        """Maps tokens (B, N, D) to query, key and value (B, N, heads, d), rotated."""
        B, N, D = x.shape
        query, key, value = (
            part.reshape(B, N, self.num_heads, D // self.num_heads) for part in self.qkv(x)
        )
        if rotation is not None:
            query, key = rotate(query, *rotation), rotate(key, *rotation)
        return query, key, value


class Mlp(nnx.Module):
    """Linear layer, GELU, linear layer."""

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        bias = nnx.initializers.normal(1e-6)
        self.fc1 = linear(spec, spec.width, spec.mlp_dim, rngs=rngs, bias_init=bias)
        self.fc2 = linear(spec, spec.mlp_dim, spec.width, rngs=rngs, bias_init=bias)
        self.gelu = gelu(spec)
        self.dropout = spec.dropout

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        keys = (None, None) if key is None else jax.random.split(key)
        x = dropout(self.gelu(self.fc1(x)), rate=self.dropout, key=keys[0])
        return dropout(self.fc2(x), rate=self.dropout, key=keys[1])


class LayerScale(nnx.Module):
    """A learned factor per channel on a residual branch (Touvron et al., 2021)."""

    def __init__(self, dim: int, *, initial: float):
        self.gamma = nnx.Param(jnp.full(dim, initial, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.gamma[...].astype(x.dtype)


class Block(nnx.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        drop_path: stochastic depth rate of this block.
        use_attention: False builds no attention layer; each call then passes `attend`.
    """

    def __init__(
        self, spec: ViTSpec, *, drop_path: float, rngs: nnx.Rngs, use_attention: bool = True
    ):
        self.norm1 = layer_norm(spec, rngs=rngs)
        self.attn = Attention(spec, rngs=rngs) if use_attention else None
        self.norm2 = layer_norm(spec, rngs=rngs)
        self.mlp = Mlp(spec, rngs=rngs)
        scale = spec.layer_scale
        self.scale1 = LayerScale(spec.width, initial=scale) if scale else None
        self.scale2 = LayerScale(spec.width, initial=scale) if scale else None
        self.drop_path = drop_path

    def __call__(
        self,
        x: jax.Array,
        *,
        key: jax.Array | None = None,
        rotation=None,
        bias=None,
        mask=None,
        attend=None,
        drop_path: jax.Array | None = None,
    ) -> jax.Array:
        """Maps tokens (B, N, D) to (B, N, D).

        Args:
            key: switches dropout and drop path on.
            rotation: cosines and sines of rotary positions, see `ops.positions.rope2d`.
            bias: added to the attention logits, broadcastable to (B, heads, N, N).
            mask: False hides a key from a query; of the same shape.
            attend: replaces self-attention over all tokens: `attend(attn, tokens)` gets
                this block's attention layer (None if not built) and the normed tokens, and
                returns (B, N, D).
            drop_path: rate () in place of the block's own.
        """
        rate = self.drop_path if drop_path is None else drop_path
        key_attn, key_mlp, key_inner = (
            (None,) * 3 if key is None else jax.random.split(key, 3)
        )
        y = self.norm1(x)
        if attend is None:
            assert self.attn is not None
            y = self.attn(y, rotation=rotation, bias=bias, mask=mask)
        else:
            y = attend(self.attn, y)
        x = x + _branch(y, self.scale1, rate=rate, key=key_attn)
        y = self.mlp(self.norm2(x), key=key_inner)
        return x + _branch(y, self.scale2, rate=rate, key=key_mlp)


def _branch(y, scale, *, rate, key) -> jax.Array:
    y = y if scale is None else scale(y)
    return dropout(y, rate=rate, key=key, per_example=True)


class AttentionPool(nnx.Module):
    """Attention pooling with a learned query and an MLP (MAP head of big_vision).

    The bias of the key projection never gets a gradient: it adds the same number to all
    logits, which the softmax cancels. Published weights contain it.
    """

    def __init__(self, spec: ViTSpec, *, rngs: nnx.Rngs):
        self.probe = nnx.Param(_xavier(rngs.params(), (1, spec.width), jnp.float32))
        self.query = linear(spec, spec.width, spec.width, rngs=rngs)
        self.key = linear(spec, spec.width, spec.width, rngs=rngs)
        self.value = linear(spec, spec.width, spec.width, rngs=rngs)
        self.out = linear(spec, spec.width, spec.width, rngs=rngs)
        self.norm = layer_norm(spec, rngs=rngs)
        self.mlp = Mlp(spec, rngs=rngs)
        self.num_heads = spec.num_heads

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens (B, N, D) to (B, D)."""
        B, N, D = x.shape
        probe = jnp.broadcast_to(self.probe[...].astype(x.dtype), (B, 1, D))
        query = self.query(probe).reshape(B, 1, self.num_heads, -1)
        key = self.key(x).reshape(B, N, self.num_heads, -1)
        value = self.value(x).reshape(B, N, self.num_heads, -1)
        pooled = self.out(attention(query, key, value).reshape(B, D))
        return pooled + self.mlp(self.norm(pooled))
