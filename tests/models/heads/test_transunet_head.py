"""The U-Net decoder against float64 loops, at sizes that are multiples of nothing."""

import float64_reference as reference
import jax
import numpy as np
import pytest
from small_head import check_learns, construct, features, outputs_shape, random_head

from hybrid_jax.errors import UserError


def conv_norm(x, p):
    x = reference.conv(x, p["conv"]["kernel"], centered=True)
    return reference.relu(reference.map_norm(x, p["norm"]))


def doubled(x):
    B, h, w, C = x.shape
    return np.asarray(jax.image.resize(x, (B, 2 * h, 2 * w, C), "linear"), float)


def test_logits_equal_the_float64_ones():
    apply, p = random_head("transunet", bottleneck=16, decoder_channels=(12, 8, 8))
    x = features()
    maps = {s: np.asarray(m, np.float64) for s, m in x.maps.items()}
    y = conv_norm(maps[16], p["begin"])
    for index, skip in enumerate((maps[8], maps[4], None)):
        y = doubled(y)
        if skip is not None:
            y = np.concatenate([y[:, : skip.shape[1], : skip.shape[2]], skip], -1)
        for layer in p["stages"][index].values():
            y = conv_norm(y, layer)
    wanted = reference.conv(y, p["logits"]["kernel"], centered=True) + p["logits"]["bias"]
    out = apply(x)
    np.testing.assert_allclose(out.logits, wanted, atol=2e-4)
    assert out.stride == 2


def test_learns():
    check_learns("transunet", bottleneck=8, decoder_channels=(8, 8))


def test_reaches_every_pixel_by_default():
    out = outputs_shape("transunet", hw=(33, 50), dtype="bfloat16")
    assert out.stride == 1
    # Whole cells of stride 4: the task cuts what lies past the image.
    assert out.logits.shape == (2, 36, 52, 5)
    assert out.logits.dtype == np.float32


@pytest.mark.parametrize(
    "options",
    [
        dict(strides=(4, 16)),
        dict(decoder_channels=(8,)),
        dict(decoder_channels=()),
        dict(decoder_channels=(8,) * 5),
    ],
)
def test_impossible_steps_are_refused(options):
    with pytest.raises(UserError, match="strides that double one by one, and one number"):
        construct("transunet", **options)
