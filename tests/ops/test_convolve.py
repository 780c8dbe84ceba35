"""The product of windows equals XLA's own convolution, value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops.convolve import _as_product, convolve
from hybrid_jax.ops.platform import tracing_for

CENTERED = ((1, 1), (1, 1))


def by_lax(x, kernel, *, stride, padding, dilation=1, groups=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def as_product(x, kernel, *, stride, padding):
    if padding == "SAME":
        sides = (x.shape[1:3], kernel.shape[:2], (stride, stride))
        padding = tuple(map(tuple, jax.lax.padtype_to_pads(*sides, padding)))
    return _as_product(x, kernel, stride, padding)


def arrays(hw, *, channels=(3, 5), side=3, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *hw, channels[0]))
    return x.astype(dtype), rng.normal(size=(side, side, *channels)).astype(dtype)


@pytest.mark.parametrize("padding", ["SAME", CENTERED, ((0, 0), (2, 1))])
@pytest.mark.parametrize(("side", "stride"), [(3, 1), (3, 2), (2, 1), (5, 3)])
@pytest.mark.parametrize("hw", [(7, 8), (8, 5)])
def test_product_and_its_gradients_equal_xlas_in_float64(hw, side, stride, padding):
    with jax.enable_x64(True):
        x, kernel = arrays(hw, side=side)
        options = dict(stride=stride, padding=padding)
        expected, back = jax.vjp(lambda *a: by_lax(*a, **options), x, kernel)
        got, our_back = jax.vjp(lambda *a: as_product(*a, **options), x, kernel)
        np.testing.assert_allclose(got, expected, atol=1e-12)
        g = jax.random.normal(jax.random.key(1), expected.shape, expected.dtype)
        for ours, theirs in zip(our_back(g), back(g), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-11)


def test_product_takes_forward_mode_vmap_and_hessians():
    with jax.enable_x64(True):
        x, kernel = arrays((3, 4), channels=(1, 2))
        options = dict(stride=2, padding=CENTERED)

        def value(form):
            return lambda kernel: jnp.sum(jnp.tanh(form(x, kernel, **options)))

        np.testing.assert_allclose(
            jax.hessian(value(as_product))(kernel),
            jax.hessian(value(by_lax))(kernel),
            atol=1e-11,
        )


def traced(platform, x, kernel, **options):
    def run(x, kernel):
        with tracing_for(platform):
            return convolve(x, kernel, **options)

    return str(jax.make_jaxpr(run)(x, kernel))


def is_product(platform, *, channels, dtype=jnp.float32, side=3, **options):
    x = jax.ShapeDtypeStruct((1, 14, 14, channels), dtype)
    per_group = channels // options.get("groups", 1)
    kernel = jax.ShapeDtypeStruct((side, side, per_group, channels), dtype)
    return "conv_general_dilated" not in traced(platform, x, kernel, **options)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize(
    ("channels", "options", "is_fast_on_cpu"),
    [
        (512, {}, True),
        (256, {}, False),
        (256, {"stride": 2}, True),
        (128, {"stride": 2}, False),
        (512, {"dilation": 2}, False),
        (512, {"groups": 2}, False),
        (512, {"side": 5}, False),
        (512, {"dtype": jnp.bfloat16}, False),
    ],
)
def test_wide_layers_on_cpus_alone_become_products(
    platform, channels, options, is_fast_on_cpu
):
    expected = is_fast_on_cpu and platform == "cpu"
    assert is_product(platform, channels=channels, **options) is expected


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_accelerators_are_given_xlas_convolution_and_nothing_else(platform):
    x, kernel = arrays((7, 7), channels=(512, 512), dtype=np.float32)
    options = dict(stride=2, padding="SAME")
    jaxpr = jax.make_jaxpr(
        lambda *a: jax.lax.conv_general_dilated(
            *a, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )(x, kernel)
    ours = traced(platform, x, kernel, **options)
    assert [line.split(" = ")[-1] for line in ours.splitlines()] == [
        line.split(" = ")[-1] for line in str(jaxpr).splitlines()
    ]


@pytest.mark.parametrize("groups", [1, 2])
def test_wide_layer_equals_xlas_under_jit(groups):
    x, kernel = arrays((5, 4), channels=(512, 512), dtype=np.float32)
    kernel = kernel[:, :, : 512 // groups]
    options = dict(stride=2, padding="SAME", groups=groups)
    got = jax.jit(lambda *a: convolve(*a, **options))(x, kernel)
    # Sums of 4608 numbers in another order.
    np.testing.assert_allclose(got, by_lax(x, kernel, **options), atol=2e-3)
