"""The maps of a prior at one width, against convolutions tap by tap in float64."""

import math

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, random_like

from hybrid_jax.models.adapters.adapter_options import prior_spec_and_strides
from hybrid_jax.models.adapters.spatial_prior import SpatialPrior
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.specs import ResNetSpec, ViTSpec

VIT = ViTSpec(width=6, depth=1, num_heads=1, mlp_dim=8)
IMAGE = (41, 75)  # no multiple of any stride


def normalize(x, p, *, train):
    mean, var = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (p["mean"], p["var"])
    return (x - mean) / np.sqrt(var + 1e-5) * p["scale"] + p["bias"]


def compare(spec, channels, strides, *, train=False):
    """Checks a prior with random weights, and returns the widths before projection."""
    module = nnx.eval_shape(
        lambda: SpatialPrior(
            spec, channels, strides=strides, width=VIT.width, rngs=nnx.Rngs(params=0)
        )
    )
    graph, state = nnx.split(module)
    state = random_like(state)
    p = as_float64(state)
    rng = np.random.default_rng(0)
    given = {
        s: rng.standard_normal((2, *(math.ceil(side / s) for side in IMAGE), C))
        for s, C in channels.items()
    }
    run = jax.jit(lambda state, maps: nnx.merge(graph, state)(maps, train=train))
    ours = run(state, jax.tree.map(jnp.float32, given))
    assert set(ours) == set(strides)
    x, widths = None, []
    for index, stride in enumerate(strides):
        if stride in given:
            x = given[stride]
        else:
            conv = p["coarser_convs"][index - len(given)]
            x = reference.conv(x, conv["conv"]["kernel"], stride=2, centered=True)
            x = reference.relu(normalize(x, conv["norm"], train=train))
        widths.append(x.shape[-1])
        expected = x @ p["projections"][index]["kernel"][0, 0]
        if index:
            expected = expected + p["level_embedding"][index - 1]
        np.testing.assert_allclose(ours[stride], expected, atol=3e-5)
    return widths


@pytest.mark.parametrize(
    ("prior", "output_stride", "widths"),
    [
        ("resnet", 32, [32, 64, 128, 256]),
        ("resnet", 16, [32, 64, 256]),
        ("stem", 32, [8, 16, 32, 32]),
        ("stem", 16, [8, 16, 32]),
    ],
)
def test_both_priors_equal_their_formula(prior, output_stride, widths):
    # BatchNorm: running statistics stand in the state, and no groups need to be known.
    spec = ResNetSpec(
        blocks=(1, 1, 1, 1), width=8, norm="batch", output_stride=output_stride
    )
    part, strides = prior_spec_and_strides("any", spec, VIT, prior=prior)
    channels = nnx.eval_shape(lambda: ResNet(part, rngs=nnx.Rngs(params=0))).channels
    assert compare(part, channels, strides) == widths


def test_only_missing_strides_are_made_and_normed_by_the_batch_in_training():
    spec = ResNetSpec(blocks=(1, 1), width=8, norm="batch")
    channels = {4: 12, 8: 20}
    assert compare(spec, channels, (4, 8, 16, 32), train=True) == [12, 20, 32, 32]


def test_levels_start_apart():
    prior = nnx.jit(
        lambda: SpatialPrior(
            ResNetSpec(), {4: 64}, strides=(4, 8, 16), width=64, rngs=nnx.Rngs(params=0)
        )
    )()
    embedding = prior.level_embedding[...]
    assert embedding.shape == (2, 64)
    assert 0.8 < float(embedding.std()) < 1.2
