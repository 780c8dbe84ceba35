"""The pyramid head against float64 loops, at sizes that are multiples of nothing."""

import float64_reference as reference
import jax
import numpy as np
import pytest
from small_head import HW, check_learns, features, outputs_shape, random_head


def conv_norm(x, p, *, active=True):
    x = reference.conv(x, p["conv"]["kernel"], centered=True)
    x = reference.map_norm(x, p["norm"])
    return reference.relu(x) if active else x


def pooled(x, bins):
    """Means of regions that overlap where the map is no multiple of them."""
    B, h, w, C = x.shape
    out = np.zeros((B, bins, bins, C))
    for i, j in np.ndindex(bins, bins):
        rows = slice(i * h // bins, -(-(i + 1) * h // bins))
        columns = slice(j * w // bins, -(-(j + 1) * w // bins))
        out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


def resized(x, hw):
    return np.asarray(jax.image.resize(x, (len(x), *hw, x.shape[-1]), "linear"), float)


def pyramid_pooling(x, p):
    levels = [x]
    for bins, layer in zip((1, 2, 3, 6), p["pooled"].values(), strict=True):
        levels.append(resized(conv_norm(pooled(x, bins), layer), x.shape[1:3]))
    return conv_norm(np.concatenate(levels, -1), p["fuse"])


def test_logits_equal_the_float64_ones():
    apply, p = random_head("fpn", hidden_dim=8)
    x = features()
    maps = {s: np.asarray(m, np.float64) for s, m in x.maps.items()}
    maps[32] = pyramid_pooling(maps[32], p["pooling"])
    strides, above, total = (4, 8, 16, 32), None, 0.0
    for index in (3, 2, 1, 0):
        stride, lateral = strides[index], p["pyramid"]["lateral"][index]
        summed = conv_norm(maps[stride], lateral, active=False)
        if above is not None:
            h, w = summed.shape[1:3]
            summed = summed + above.repeat(2, 1).repeat(2, 2)[:, :h, :w]
        above = summed
        level = conv_norm(summed, p["pyramid"]["smooth"][index], active=False)
        n, (h, w) = stride // 4, maps[4].shape[1:3]
        total = total + resized(level, (n * level.shape[1], n * level.shape[2]))[:, :h, :w]
    wanted = reference.linear(conv_norm(total, p["fuse"]), p["logits"])
    out = apply(x)
    np.testing.assert_allclose(out.logits, wanted, atol=2e-4)
    read = conv_norm(np.asarray(x.maps[16], np.float64), p["auxiliary"]["conv"])
    second = reference.linear(read, p["auxiliary"]["logits"])
    np.testing.assert_allclose(out.auxiliary, second, atol=1e-4)
    assert (out.stride, out.auxiliary_stride) == (4, 16)


# That a gradient reaches every parameter is tested by the head's name; that a loss falls,
# of the other heads of maps.
@pytest.mark.slow
def test_learns():
    check_learns("fpn", hidden_dim=8)


@pytest.mark.parametrize(
    ("options", "stride", "second"),
    [
        (dict(strides=(8, 16)), 8, 16),
        (dict(strides=(4, 8)), 4, 8),
        (dict(auxiliary=False), 4, None),
    ],
)
def test_strides_and_second_reading_are_chosen(options, stride, second):
    out = outputs_shape("fpn", dtype="bfloat16", **options)
    h, w = (-(-side // stride) for side in HW)
    assert out.logits.shape[1:3] == (h, w)
    assert out.logits.dtype == np.float32
    assert out.stride == stride
    if second is None:
        assert out.auxiliary is None
    else:
        assert out.auxiliary_stride == second
        assert out.auxiliary.shape[1:3] == tuple(-(-side // second) for side in HW)
