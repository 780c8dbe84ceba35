"""ConvNorm and its norm at any width; grouped kernels convolve in groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.layers.conv_norm import ConvNorm, NormSpec, group_count, map_norm
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.specs import ResNetSpec


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("channels", [48, 20, 7])
def test_any_number_of_channels_is_normalized(norm, channels):
    spec = NormSpec(norm=norm)
    module = ConvNorm(
        spec, 5, channels, kernel=3, stride=2, activation=None, rngs=nnx.Rngs(params=0)
    )
    x = jax.random.normal(jax.random.key(1), (4, 33, 47, 5)) + 3.0
    y = module(x, train=True)
    assert y.shape == (4, 17, 24, channels)
    assert abs(float(y.mean())) < 1e-3
    assert abs(float(y.std()) - 1.0) < 1e-2


WIDTHS = [16, 32, 48, 64, 256]


@pytest.mark.parametrize("channels", WIDTHS)
def test_the_level_of_an_image_survives(channels):
    """Two images that differ by one number per channel stay as far apart."""
    norm = map_norm(NormSpec(), channels, rngs=nnx.Rngs(params=0))
    x = jax.random.normal(jax.random.key(1), (1, 7, 9, channels))
    offsets = jax.random.normal(jax.random.key(2), (channels,))
    means = norm(jnp.concatenate([x, x + offsets]), train=False).mean((1, 2))
    apart = jnp.abs(means[1] - means[0])
    assert (apart > 0.1).mean() > 0.7  # the mean of a group is lost, not of a channel
    assert jnp.corrcoef(means[1], offsets)[0, 1] > 0.7


@pytest.mark.parametrize("channels", WIDTHS)
def test_a_map_of_one_cell_is_not_erased(channels):
    norm = map_norm(NormSpec(), channels, rngs=nnx.Rngs(params=0))
    x = jax.random.normal(jax.random.key(1), (2, 1, 1, channels))
    weights = jax.random.normal(jax.random.key(2), x.shape)
    y = norm(x, train=True)
    gradient = jax.grad(lambda x: (weights * norm(x, train=True)).sum())(x)
    assert (jnp.abs(y) > 1e-3).mean() > 0.9
    assert (jnp.abs(gradient) > 1e-4).mean() > 0.9


def test_groups_divide_the_channels_and_have_four_of_them():
    for channels in range(1, 1025):
        groups = group_count(channels)
        assert channels % groups == 0
        assert channels // groups >= min(4, channels)
    expected = {2: 1, 6: 1, 8: 2, 18: 2, 48: 8, 64: 16, 128: 32, 256: 32, 384: 32, 768: 32}
    assert {channels: group_count(channels) for channels in expected} == expected
    for channels in (256, 512, 2048):
        assert map_norm(NormSpec(), channels, rngs=nnx.Rngs(params=0)).groups == 32


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (4, 4)])
def test_grouped_convolution_equals_one_convolution_per_group(kernel, stride):
    padding = "end" if kernel == stride > 1 else "centered"
    options = dict(kernel=kernel, stride=stride, padding=padding)
    grouped = Conv(6, 9, groups=3, **options, rngs=nnx.Rngs(params=0))
    single = Conv(2, 3, **options, rngs=nnx.Rngs(params=0))
    x = jax.random.normal(jax.random.key(1), (2, 9, 6, 6))
    parts = []
    for group in range(3):
        single.kernel[...] = grouped.kernel[...][..., 3 * group : 3 * group + 3]
        parts.append(single(x[..., 2 * group : 2 * group + 2]))
    np.testing.assert_allclose(grouped(x), jnp.concatenate(parts, -1), atol=1e-5)


def test_norm_is_that_of_a_spec_and_one_of_two():
    spec = ResNetSpec(numerics="timm", dtype="bfloat16")
    assert NormSpec.of(spec) == NormSpec(norm="group", eps=1e-5, dtype="bfloat16")
    assert NormSpec.of(ResNetSpec()) == NormSpec()
    with pytest.raises(UserError, match="expected 'group' or 'batch', got 'layer'"):
        NormSpec(norm="layer")
