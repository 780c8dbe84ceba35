"""Convolutions against XLA's own, and standardized kernels against float64 numpy."""

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.models.layers.convolution import Conv, standardize
from hybrid_jax.ops.platform import tracing_for


def images_of(hw, *, channels=3, batch=2, seed=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, *hw, channels)).astype(np.float32)


def test_even_input_is_padded_two_before_and_three_after():
    assert reference.same_pads(224, kernel=7, stride=2) == (2, 3)
    conv = Conv(1, 1, kernel=7, stride=2, rngs=nnx.Rngs(params=0))
    conv.kernel[...] = jnp.zeros((7, 7, 1, 1)).at[2, 2].set(1.0)
    image = images_of((8, 12), channels=1)
    # With two cells before, tap (2, 2) of window (i, j) reads cell (2 i, 2 j).
    np.testing.assert_array_equal(conv(image), image[:, ::2, ::2])


def conv_by_lax(x, kernel, *, stride, pads):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(1, 1, "same"), (1, 2, "same"), (1, 2, "centered"), (4, 4, "end")],
)
@pytest.mark.parametrize("hw", [(8, 12), (9, 14)])
def test_matrix_form_equals_the_convolution_with_its_gradients(kernel, stride, padding, hw):
    conv = Conv(
        3, 5, kernel=kernel, stride=stride, padding=padding, rngs=nnx.Rngs(params=0)
    )
    graph, state = nnx.split(conv)
    x = jnp.asarray(images_of(hw))
    pads = [(0, -side % stride if kernel > 1 else 0) for side in hw]

    def ours(w, x):
        merged = nnx.merge(graph, state, copy=True)
        merged.kernel[...] = w
        return merged(x)

    def theirs(w, x):
        return conv_by_lax(x, w, stride=stride, pads=pads)

    w = conv.kernel[...]
    weights = images_of(jax.eval_shape(theirs, w, x).shape[1:3], channels=5, seed=6)

    @jax.jit
    def run(w, x, weights):
        def of(convolution):
            y, pull = jax.vjp(convolution, w, x)
            return y, *pull(weights)

        return of(ours), of(theirs)

    (got, *slopes), (expected, *expected_slopes) = run(w, x, weights)
    # Products of at most 48 numbers summed in another order.
    np.testing.assert_allclose(got, expected, atol=1e-5)
    for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, expected_slope, atol=1e-4)


@pytest.mark.parametrize("numerics", ["vit_jax", "timm"])
def test_standardize_equals_reference(numerics):
    # Small weights make the epsilons matter: the two numerics differ by a third here.
    kernel = 2e-5 * np.random.default_rng(0).standard_normal((3, 3, 4, 7))
    expected = reference.standardize(kernel, numerics)
    ours = standardize(jnp.asarray(kernel, jnp.float32), numerics=numerics)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_standardized_kernel_has_mean_zero_and_deviation_one_per_output():
    kernel = 5.0 + 3.0 * np.random.default_rng(0).standard_normal((3, 3, 4, 7))
    w = standardize(jnp.asarray(kernel, jnp.float32), numerics="vit_jax")
    np.testing.assert_allclose(w.mean((0, 1, 2)), 0.0, atol=1e-6)
    np.testing.assert_allclose(w.std((0, 1, 2)), 1.0, atol=1e-4)  # the epsilon's share


def test_standardized_conv_ignores_scale_and_offset_of_its_kernel():
    conv = Conv(3, 5, kernel=3, standardized="timm", rngs=nnx.Rngs(params=0))
    x = images_of((6, 9))
    before = conv(x)
    conv.kernel[...] = 10.0 * conv.kernel[...] + 2.0
    np.testing.assert_allclose(conv(x), before, atol=1e-4)


def test_standardized_conv_standardizes_in_float32_under_bfloat16():
    conv = Conv(
        3, 5, kernel=3, standardized="timm", dtype="bfloat16", rngs=nnx.Rngs(params=0)
    )
    # In bfloat16 an offset of 100 would swallow the weights altogether.
    before = conv(images_of((6, 9)))
    assert before.dtype == jnp.bfloat16
    conv.kernel[...] = conv.kernel[...] + 100.0
    after = conv(images_of((6, 9)))
    np.testing.assert_allclose(
        after.astype(jnp.float32), before.astype(jnp.float32), atol=0.1
    )


def test_standardized_in_place_gives_the_same_and_the_same_gradient():
    conv = Conv(4, 6, kernel=3, standardized="vit_jax", rngs=nnx.Rngs(params=0))
    graph, state = nnx.split(conv)
    x = jnp.asarray(images_of((6, 8), channels=4))

    def loss(w, *, once):
        merged = nnx.merge(graph, state, copy=True)
        merged.kernel[...] = w
        if once:
            merged.standardize_in_place()
            merged.standardize_in_place()
            assert merged.standardized is None
        return jnp.square(merged(x)).sum()

    raw = 0.3 + 2 * conv.kernel[...]  # neither mean nor deviation is right
    given, wanted = (jax.value_and_grad(loss)(raw, once=once) for once in (True, False))
    jax.tree.map(np.testing.assert_array_equal, given, wanted)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        *[(1, 2, "same"), (1, 2, "centered"), (7, 2, "same"), (7, 2, "centered")],
        *[(3, 2, "same"), (3, 2, "centered"), (7, 1, "same"), (4, 4, "end")],
    ],
)
@pytest.mark.parametrize("hw", [(16, 12), (9, 14)])
@pytest.mark.parametrize("channels", [3, 8])
def test_form_of_gpus_equals_the_form_of_cpus(kernel, stride, padding, hw, channels):
    conv = Conv(
        channels, 5, kernel=kernel, stride=stride, padding=padding, rngs=nnx.Rngs(params=0)
    )
    graph, state = nnx.split(conv)
    x = images_of(hw, channels=channels)
    g = images_of(jax.eval_shape(conv, x).shape[1:3], channels=5)

    @jax.jit
    def run(state, x, g):
        def of(platform):
            with tracing_for(platform):
                y, pull = jax.vjp(nnx.merge(graph, state), x)
                return y, *pull(g)

        return of("gpu"), of("cpu")

    (got, slope), (expected, expected_slope) = run(state, x, g)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-4)


def test_no_product_reads_a_strided_slice_on_gpus():
    # XLA's compiler for GPUs (jax 0.11.2) ends the process over one (a failed check in
    # triton_tiling_propagation.cc), in evaluation of R26+B/16 at 224 px, say.
    conv = Conv(8, 5, kernel=1, stride=2, rngs=nnx.Rngs(params=0))
    x = images_of((8, 8), channels=8)
    with tracing_for("gpu"):
        program = str(jax.make_jaxpr(lambda x: conv(x))(x))
    assert "conv_general_dilated" in program
    assert "dot_general" not in program
