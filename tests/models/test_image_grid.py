"""The cells of an image at a stride are those of a map that a ResNet makes of it."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from grid_guarantee import check_grids_cover_the_image

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


class _Floors(nnx.Module):
    def __init__(self, resnet_spec, vit_spec, *, image_size, rngs):
        H, W = image_size
        self.position = nnx.Param(jnp.zeros((H // 16, W // 16, 8)))


def test_check_catches_positions_that_do_not_cover_the_image():
    with pytest.raises(AssertionError, match=r"position: .* a grid of \(6, 8\); one that"):
        check_grids_cover_the_image(_Floors)
    check_grids_cover_the_image(_Floors, built_for=(64, 96))
