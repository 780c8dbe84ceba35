"""ConvNorm takes any width and the ResNet's norm; grouped kernels convolve in groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.models.conv_norm import ConvNorm
from hybrid_jax.models.convolution import Conv
from hybrid_jax.specs import ResNetSpec


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("channels", [48, 20, 7])
def test_any_number_of_channels_is_normalised(norm, channels):
    spec = ResNetSpec(norm=norm)
    module = ConvNorm(
        spec, 5, channels, kernel=3, stride=2, activation=None, rngs=nnx.Rngs(params=0)
    )
    x = jax.random.normal(jax.random.key(1), (4, 33, 47, 5)) + 3.0
    y = module(x, train=True)
    assert y.shape == (4, 17, 24, channels)
    assert abs(float(y.mean())) < 1e-3
    assert abs(float(y.std()) - 1.0) < 1e-2


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (4, 4)])
def test_grouped_convolution_equals_one_convolution_per_group(kernel, stride):
    padding = "end" if kernel == stride > 1 else "centred"
    options = dict(kernel=kernel, stride=stride, padding=padding)
    grouped = Conv(6, 9, groups=3, **options, rngs=nnx.Rngs(params=0))
    single = Conv(2, 3, **options, rngs=nnx.Rngs(params=0))
    x = jax.random.normal(jax.random.key(1), (2, 9, 6, 6))
    parts = []
    for group in range(3):
        single.kernel[...] = grouped.kernel[...][..., 3 * group : 3 * group + 3]
        parts.append(single(x[..., 2 * group : 2 * group + 2]))
    np.testing.assert_allclose(grouped(x), jnp.concatenate(parts, -1), atol=1e-5)
