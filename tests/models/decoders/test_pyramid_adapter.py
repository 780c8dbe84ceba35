"""Missing strides are made: of the right size, in the right place, of what is there."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.pyramid_adapter import PyramidAdapter

GIVEN = {
    "vit": {16: 24},
    "gap": {4: 12, 32: 40},
    "fine": {4: 12, 8: 20, 16: 24},
}
WANTED = (4, 8, 16, 32, 64)
SIZES = ((97, 131), (64, 96), (33, 200))


@functools.cache
def taken_apart(given, *, wanted=WANTED, dtype="float32"):
    """Returns an adapter whose arrays are shapes, and its graph and their shapes."""
    channels = GIVEN.get(given, given)

    def make():
        return PyramidAdapter(
            dict(channels), wanted=wanted, dtype=dtype, rngs=nnx.Rngs(params=0)
        )

    module = nnx.eval_shape(make)
    return module, *nnx.split(module)


def cells(side_hw, stride):
    return tuple(-(-side // stride) for side in side_hw)


@pytest.mark.parametrize("hw", SIZES, ids=lambda hw: f"{hw[0]}x{hw[1]}")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("given", GIVEN)
def test_every_wanted_stride_is_there_at_its_size(given, dtype, hw):
    module, graph, state = taken_apart(given, dtype=dtype)
    orders = []

    def run(state, maps):
        made = nnx.merge(graph, state)(maps, image_hw=hw, train=True)
        orders.append(list(made))
        return made

    maps = {
        stride: jax.ShapeDtypeStruct((2, *cells(hw, stride), c), dtype)
        for stride, c in GIVEN[given].items()
    }
    made = jax.eval_shape(run, state, maps)
    assert orders == [list(module.channels)] == [sorted(made)]
    assert set(made) >= set(WANTED)
    for stride, x in made.items():
        assert x.shape == (2, *cells(hw, stride), module.channels[stride])
        assert x.dtype == jnp.dtype(dtype)


def test_no_more_than_256_channels_are_made():
    channels = taken_apart(((8, 1024),))[0].channels
    assert channels == {4: 256, 8: 1024, 16: 256, 32: 256, 64: 256}


def test_made_maps_come_of_the_next_ones():
    assert taken_apart("vit")[0].steps == ((16, 8), (8, 4), (16, 32), (32, 64))
    assert taken_apart("gap")[0].steps == ((4, 8), (8, 16), (32, 64))
    assert taken_apart("fine", wanted=(8, 16))[0].steps == ()


@pytest.mark.parametrize("given", GIVEN)
def test_given_maps_stay_and_gradient_reaches_every_parameter(given):
    hw, rng = (33, 65), np.random.default_rng(1)
    _, graph, shapes = taken_apart(given)
    maps = {
        s: jnp.asarray(rng.standard_normal((2, *cells(hw, s), c)), jnp.float32)
        for s, c in GIVEN[given].items()
    }

    @jax.jit
    def gradient(params, maps):
        def reading(params):
            made = nnx.merge(graph, params)(maps, image_hw=hw, train=True)
            weights = {s: jax.random.normal(jax.random.key(s), made[s].shape) for s in made}
            return sum(jnp.vdot(weights[s], made[s]) for s in made), made

        return jax.grad(reading, has_aux=True)(params)

    gradients, made = gradient(random_like(shapes), maps)
    for stride, x in maps.items():
        np.testing.assert_array_equal(made[stride], x)
    sizes = {k: float(jnp.linalg.norm(g)) for k, g in names_and_leaves(gradients).items()}
    assert sizes
    assert min(sizes.values()) > 1e-4 * max(sizes.values()), sizes


@functools.cache
def lit(given, wanted, hw):
    """Returns, for each cell of a map that alone is 1, the brightest cells of the other.

    The adapter has one channel, and its kernel is a small hill.
    """
    h, w = cells(hw, given)
    _, graph, state = taken_apart(((given, 1),), wanted=(wanted,))
    hill = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0])

    def value(path, leaf):
        is_kernel = "kernel" in jax.tree_util.keystr(path)
        is_scale = "scale" in jax.tree_util.keystr(path)
        return jnp.full(leaf.shape, hill[:, :, None, None] if is_kernel else is_scale * 1.0)

    state = jax.tree_util.tree_map_with_path(value, state)
    x = jnp.eye(h * w).reshape(h * w, h, w, 1)  # one image for each cell

    @jax.jit
    def run(state, x):
        return nnx.merge(graph, state)({given: x}, image_hw=hw, train=False)[wanted]

    made = np.asarray(run(state, x))[..., 0]
    assert made.shape[1:] == cells(hw, wanted)
    return {
        cell: {(i, j) for i, j in np.argwhere(one > one.max() - 1e-4).tolist()}
        for cell, one in zip(itertools.product(range(h), range(w)), made, strict=True)
    }


@pytest.mark.parametrize("hw", [(97, 131), (64, 96)])
def test_finer_map_lights_up_where_the_coarse_cell_is(hw):
    # Cell (i, j) of stride 32 covers the cells (2i, 2j) to (2i + 1, 2j + 1) of stride 16,
    # as far as there are any: 97 px have 4 rows at stride 32 and 7 at stride 16.
    h, w = cells(hw, 32)
    for (i, j), found in lit(32, 16, hw).items():
        block = {(2 * i + a, 2 * j + b) for a in (0, 1) for b in (0, 1)}
        assert found
        assert found <= block, (i, j)
        if 0 < i < h - 1 and 0 < j < w - 1:  # no border breaks the symmetry
            assert found == block, (i, j)


@pytest.mark.parametrize("hw", [(97, 131), (64, 96)])
def test_coarser_map_lights_up_where_the_fine_cell_is(hw):
    # An odd cell lies between two windows and lights up both, if there are two.
    h, w = cells(hw, 32)
    for (i, j), found in lit(16, 32, hw).items():
        rows = {row for row in (i // 2, (i + 1) // 2) if row < h}
        columns = {column for column in (j // 2, (j + 1) // 2) if column < w}
        assert (i // 2, j // 2) in found
        assert found == set(itertools.product(rows, columns)), (i, j)


@pytest.mark.parametrize(
    ("given", "wanted"), [((16,), 12), ((8, 16), 24), ((16,), 0), ((4, 32), 6)]
)
def test_unreachable_stride_is_one_line(given, wanted):
    with pytest.raises(UserError) as error:
        PyramidAdapter(
            dict.fromkeys(given, 8),
            wanted=(wanted,),
            dtype="float32",
            rngs=nnx.Rngs(params=0),
        )
    assert str(error.value) == (
        f"head: strides: expected strides that follow from the fusion's maps (strides "
        f"{', '.join(map(str, given))}) by doubling or halving, got {wanted}. Choose a "
        f"power of two."
    )


def test_adapter_holds_only_parameters():
    leaves = nnx.to_flat_state(taken_apart("vit")[2])
    assert {type(variable) for _, variable in leaves} == {nnx.Param}
