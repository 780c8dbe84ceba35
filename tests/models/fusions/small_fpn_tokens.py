"""`fpn_tokens` built small: with other options, as shapes, with random parameters."""

import small_fusion
from flax import nnx
from parameters import random_like

from hybrid_jax.models.fusions.fpn_tokens import FPNTokens

# stride -> (h, w) of the levels of a 64 x 96 image
GRIDS = {8: (8, 12), 16: (4, 6), 32: (2, 3)}


def variant(**options):
    """Returns the fusion with other default options, as the guarantees want it."""

    class Variant(FPNTokens):
        def __init__(self, *specs, image_size, rngs):
            super().__init__(*specs, image_size=image_size, rngs=rngs, **options)

    return Variant


def shapes(*, resnet=small_fusion.RESNET, vit=small_fusion.VIT, **options):
    """Describes the fusion without filling its parameters."""
    options = dict(image_size=(64, 96)) | options
    return nnx.eval_shape(
        lambda: FPNTokens(resnet, vit, rngs=nnx.Rngs(params=0), **options)
    )


def filled(module):
    graph, state = nnx.split(module)
    return nnx.merge(graph, random_like(state))
