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


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("channels", [48, 20, 7])
def test_any_number_of_channels_is_normalized(norm, channels):
    spec = NormSpec(norm=norm)
    module = ConvNorm(
        spec, 5, channels, kernel=3, stride=2, activation=None, rngs=nnx.Rngs(params=0)
    )
    y = nnx.jit(lambda module, x: module(x, train=True))(module, normal(4, 33, 47, 5) + 3.0)
    assert y.shape == (4, 17, 24, channels)
    assert abs(float(y.mean())) < 1e-3
    assert abs(float(y.std()) - 1.0) < 1e-2


WIDTHS = [16, 32, 48, 64, 256]


@pytest.mark.parametrize("channels", WIDTHS)
def test_the_level_of_an_image_survives(channels):
    """Two images that differ by one number per channel stay as far apart."""
    norm = map_norm(NormSpec(), channels, rngs=nnx.Rngs(params=0))
    x, offsets = normal(1, 7, 9, channels), normal(channels, seed=2)
    normed = jax.jit(lambda x: norm(x, train=False))(np.concatenate([x, x + offsets]))
    means = np.asarray(normed).mean((1, 2))
    apart = np.abs(means[1] - means[0])
    assert (apart > 0.1).mean() > 0.7  # the mean of a group is lost, not of a channel
    assert np.corrcoef(means[1], offsets)[0, 1] > 0.7


@pytest.mark.parametrize("channels", WIDTHS)
def test_a_map_of_one_cell_is_not_erased(channels):
    norm = map_norm(NormSpec(), channels, rngs=nnx.Rngs(params=0))
    x, weights = normal(2, 1, 1, channels), normal(2, 1, 1, channels, seed=2)

    @jax.jit
    def run(x, weights):
        y, pull = jax.vjp(lambda x: norm(x, train=True), x)
        return y, *pull(weights)

    y, gradient = run(x, weights)
    assert (np.abs(y) > 1e-3).mean() > 0.9
    assert (np.abs(gradient) > 1e-4).mean() > 0.9


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
