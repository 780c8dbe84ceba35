"""A convolution on regrouped pixels is the plain one."""

import jax
import numpy as np
import pytest

from hybrid_jax.ops.space_to_depth import convolve

PADS = {
    "same": ((2, 3), (3, 3)),
    "centered": ((3, 3), (3, 3)),
    "none": ((0, 0), (0, 0)),
    "end": ((0, 1), (0, 2)),
}


@pytest.mark.parametrize("side", [2, 3, 4, 7])
@pytest.mark.parametrize("hw", [(16, 16), (15, 22), (17, 13)])
@pytest.mark.parametrize("pads", PADS.values(), ids=PADS)
def test_same_values_and_gradients_as_the_plain_convolution(side, hw, pads):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *hw, 3)).astype(np.float32)
    kernel = rng.standard_normal((side, side, 3, 5)).astype(np.float32)

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def regrouped(x, kernel):
        return convolve(x, kernel, pads=pads)

    shape = jax.eval_shape(plain, x, kernel).shape
    g = rng.standard_normal(shape).astype(np.float32)

    @jax.jit
    def both(x, kernel, g):
        def run(convolution):
            y, pull = jax.vjp(convolution, x, kernel)
            return y, *pull(g)

        return run(plain), run(regrouped)

    expected, got = both(x, kernel, g)
    assert got[0].shape == expected[0].shape
    for a, b, tolerance in zip(got, expected, (1e-5, 1e-4, 1e-4), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
