"""The feature pyramid against float64 loops, at sizes that are multiples of nothing."""

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.fpn import FPN
from hybrid_jax.models.layers.conv_norm import NormSpec

CHANNELS = {4: 5, 8: 6, 16: 7, 32: 8}
# The maps of a 75 x 101 image.
SIZES = {4: (19, 26), 8: (10, 13), 16: (5, 7), 32: (3, 4)}


def shapes(levels):
    """Describes a pyramid of four channels without filling its parameters."""
    return nnx.eval_shape(
        lambda: FPN(
            NormSpec(norm="batch"), CHANNELS, 4, levels=levels, rngs=nnx.Rngs(params=0)
        )
    )


def conv_norm(x, p):
    x, norm = reference.conv(x, p["conv"]["kernel"], centered=True), p["norm"]
    x = (x - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
    return x * norm["scale"] + norm["bias"]


@pytest.mark.parametrize("levels", [(8, 16), (4, 32)])
def test_levels_equal_the_float64_ones(levels):
    graph, state = nnx.split(shapes(levels))
    state = random_like(state)
    rng = np.random.default_rng(0)
    maps = {s: rng.standard_normal((2, *SIZES[s], CHANNELS[s])) for s in SIZES}
    arrays = {s: jnp.asarray(x, jnp.float32) for s, x in maps.items()}
    ours = jax.jit(lambda s, x: nnx.merge(graph, s)(x, train=False))(state, arrays)
    p = as_float64(state)
    used = [s for s in SIZES if s >= levels[0]]
    summed = {}
    for index in reversed(range(len(used))):
        stride = used[index]
        summed[stride] = conv_norm(maps[stride], p["lateral"][index])
        if stride < 32:
            for i, j in np.ndindex(SIZES[stride]):
                summed[stride][:, i, j] += summed[2 * stride][:, i // 2, j // 2]
    assert list(ours) == list(levels)
    for index, stride in enumerate(levels):
        expected = conv_norm(summed[stride], p["smooth"][index])
        np.testing.assert_allclose(ours[stride], expected, atol=1e-4)


def test_maps_finer_than_its_levels_have_no_parameters():
    names = names_and_leaves(nnx.state(shapes((16,)), nnx.Param))
    assert {tuple(n.split(".")[:2]) for n in names} == {
        ("lateral", "0"),
        ("lateral", "1"),
        ("smooth", "0"),
    }


def test_no_levels_are_refused():
    with pytest.raises(UserError, match="levels: expected one or more, got none"):
        shapes(())
