"""The cells of an image at a stride are those of a map that a ResNet makes of it."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from hybrid_jax.models.image_grid import grid_of, hw_of
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.specs import ResNetSpec


@pytest.mark.parametrize("hw", [(64, 96), (97, 131), (33, 1), (200, 40)])
def test_grid_is_that_of_the_resnets_map(hw):
    spec = ResNetSpec(blocks=(1, 1, 1, 1), width=32)
    images = jax.ShapeDtypeStruct((1, *hw, 3), jnp.float32)
    maps = jax.eval_shape(
        lambda x: ResNet(spec, rngs=nnx.Rngs(params=0))(x, train=False), images
    )
    for stride, array in maps.items():
        assert hw_of(array) == grid_of(hw, stride)
