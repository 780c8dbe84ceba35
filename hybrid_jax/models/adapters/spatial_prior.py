"""The spatial prior of ViT adapters (Chen et al., 2022): convolutional maps of width D."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.specs import ResNetSpec


class SpatialPrior(nnx.Module):
    """Projects the maps of a ResNet to width D and adds level embeddings.

    Missing coarser strides are computed from the coarsest map, each by a 3x3 convolution
    with stride 2, a norm and a ReLU. On a ResNet without stages (64 channels) this is the
    paper's spatial prior module with 128, 256 and 256 channels.

    Args:
        spec: gives norm and dtype of the convolutions.
        channels: stride -> C of the maps it is called with.
        strides: strides it returns, fine to coarse; the finest are in `channels`.
        width: D.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        channels: Mapping[int, int],
        *,
        strides: tuple[int, ...],
        width: int,
        rngs: nnx.Rngs,
    ):
        self.strides = strides
        coarser, widths = [], [channels[s] for s in strides if s in channels]
        for _ in strides[len(widths) :]:
            conv = ConvNorm(
                NormSpec.of(spec),
                widths[-1],
                min(2 * widths[-1], 4 * spec.width),
                kernel=3,
                stride=2,
                rngs=rngs,
            )
            coarser.append(conv)
            widths.append(conv.conv.kernel.shape[-1])
        self.coarser_convs = nnx.List(coarser)
        # No bias: the level embeddings and the norm after the finest map replace it.
        self.projections = nnx.List(
            [Conv(C, width, kernel=1, dtype=spec.dtype, rngs=rngs) for C in widths]
        )
        normal = nnx.initializers.normal(1.0)
        shape = (len(strides) - 1, width)
        self.level_embedding = nnx.Param(normal(rngs.params(), shape, jnp.float32))

    def __call__(
        self, maps: Mapping[int, jax.Array], *, train: bool
    ) -> dict[int, jax.Array]:
        """Maps {stride: (B, h, w, C)} to {stride: (B, h, w, D)}.

        All maps but the finest, which takes no part in attention, also get the embedding
        of their level.
        """
        given = [maps[s] for s in self.strides if s in maps]
        for conv in self.coarser_convs:
            given.append(conv(given[-1], train=train))
        out = {}
        for index, (stride, x) in enumerate(zip(self.strides, given, strict=True)):
            x = self.projections[index](x)
            if index:
                x = x + self.level_embedding[index - 1].astype(x.dtype)
            out[stride] = x
        return out
