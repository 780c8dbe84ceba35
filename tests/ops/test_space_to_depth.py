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
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, *hw, 3))
    kernel = jax.random.normal(keys[1], (side, side, 3, 5))

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    expected, pull = jax.vjp(plain, x, kernel)
    got, pull_got = jax.vjp(lambda x, kernel: convolve(x, kernel, pads=pads), x, kernel)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    g = jax.random.normal(keys[2], expected.shape)
    for a, b in zip(pull_got(g), pull(g), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
