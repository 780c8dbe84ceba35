"""Stems (root blocks) of a ResNet: from the image to a map of stride 4."""

import jax
from flax import nnx

from hybrid_jax.models.layers.folding import Norm
from hybrid_jax.models.resnet import conv_and_norm as layers
from hybrid_jax.ops.pooling import max_pool
from hybrid_jax.specs import ResNetSpec


class Stem(nnx.Module):
    """A 7x7 convolution and a 3x3 max pooling, each with stride 2."""

    def __init__(self, spec: ResNetSpec, *, rngs: nnx.Rngs):
        self.conv = layers.conv(spec, 3, spec.width, kernel=7, stride=2, rngs=rngs)
        self.norm = _last_norm(spec, rngs=rngs)
        self.padding = _pool_padding(spec)

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, H, W, 3) images to a (B, ceil(H/4), ceil(W/4), width) map."""
        x = self.conv(images)
        if self.norm is not None:
            x = jax.nn.relu(self.norm(x, train=train))
        return max_pool(x, padding=self.padding)

    def fold_in_place(self) -> None:
        """Folds the norm into the convolution, see `layers/folding.py`."""
        if self.norm is not None:
            self.norm = self.norm.folded_into(self.conv)


class DeepStem(nnx.Module):
    """Three 3x3 convolutions instead of one 7x7 (ResNet-C and -D, He et al., 2018)."""

    def __init__(self, spec: ResNetSpec, *, rngs: nnx.Rngs):
        half = spec.width // 2
        self.conv1 = layers.conv(spec, 3, half, kernel=3, stride=2, rngs=rngs)
        self.norm1 = layers.norm(spec, half, rngs=rngs)
        self.conv2 = layers.conv(spec, half, half, kernel=3, rngs=rngs)
        self.norm2 = layers.norm(spec, half, rngs=rngs)
        self.conv3 = layers.conv(spec, half, spec.width, kernel=3, rngs=rngs)
        self.norm3 = _last_norm(spec, rngs=rngs)
        self.padding = _pool_padding(spec)

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps (B, H, W, 3) images to a (B, ceil(H/4), ceil(W/4), width) map."""
        x = jax.nn.relu(self.norm1(self.conv1(images), train=train))
        x = jax.nn.relu(self.norm2(self.conv2(x), train=train))
        x = self.conv3(x)
        if self.norm3 is not None:
            x = jax.nn.relu(self.norm3(x, train=train))
        return max_pool(x, padding=self.padding)

    def fold_in_place(self) -> None:
        """Folds each norm into the convolution before it, see `layers/folding.py`."""
        self.norm1 = self.norm1.folded_into(self.conv1)
        self.norm2 = self.norm2.folded_into(self.conv2)
        if self.norm3 is not None:
            self.norm3 = self.norm3.folded_into(self.conv3)


def stem(spec: ResNetSpec, *, rngs: nnx.Rngs) -> Stem | DeepStem:
    """Returns the stem that the spec describes."""
    return (DeepStem if spec.root == "deep" else Stem)(spec, rngs=rngs)


def _last_norm(spec: ResNetSpec, *, rngs: nnx.Rngs) -> Norm | None:
    """Returns the norm after the last convolution.

    It is None if pre-activation blocks follow, because these begin with a norm.
    """
    if spec.preactivation and spec.blocks:
        return None
    return layers.norm(spec, spec.width, rngs=rngs)


def _pool_padding(spec: ResNetSpec) -> str:
    # BiT pads with zeros; without a ReLU before the pooling, this changes the maximum.
    if spec.preactivation:
        return "zeros"
    return "same" if spec.norm == "group" else "centered"
