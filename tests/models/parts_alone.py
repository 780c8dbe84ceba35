"""What either part gives alone, for fusions that start as one of them."""

import functools

import jax
from flax import nnx
from small_fusion import BUILT_FOR, COMPUTED

from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT


def donor_features(name, params, images):
    """Returns (maps by stride, pooled) of `resnet` or `vit` with these parameters."""
    shapes, forward = _donor(name)
    state = nnx.clone(shapes)
    nnx.replace_by_pure_dict(state, params)
    out = forward(state, images)
    if name == "vit":
        return {COMPUTED["vit"].patch_size: out[0]}, out[1]
    return out, out[max(out)].mean((1, 2))


@functools.cache
def _donor(name):
    """Returns a part alone: the shapes of its state, and (state, images) -> outputs."""
    resnet, vit = COMPUTED["resnet"], COMPUTED["vit"]
    if name == "vit":
        grid = grid_of(BUILT_FOR, vit.patch_size)
        donor = nnx.eval_shape(lambda: ViT(vit, grid=grid, rngs=nnx.Rngs(params=5)))
    else:
        donor = nnx.eval_shape(lambda: ResNet(resnet, rngs=nnx.Rngs(params=5)))
    graph, state = nnx.split(donor)
    return state, jax.jit(lambda state, x: nnx.merge(graph, state)(x, train=False))
