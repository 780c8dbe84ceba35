"""The mask transformer against float64, and what padding may not change."""

import float64_reference as reference
import numpy as np
import pytest
from small_head import HW, K, check_learns, construct, features, outputs_shape, random_head

from hybrid_jax.errors import UserError

SMALL = dict(hidden_dim=12, num_heads=3, depth=2)


def test_logits_equal_the_float64_ones():
    apply, p = random_head("segmenter", **SMALL, strides=(8,))
    x = features()
    tokens = reference.linear(np.asarray(x.maps[8], np.float64), p["embed"])
    B, h, w, D = tokens.shape
    classes = np.broadcast_to(p["classes"], (B, K, D))
    tokens = np.concatenate([tokens.reshape(B, h * w, D), classes], 1)
    for block in p["blocks"].values():
        tokens = reference.block(tokens, block, heads=3, form="tanh", eps=1e-6)
    tokens = reference.layer_norm(tokens, p["norm"])
    patches = tokens[:, : h * w] @ p["patch"]["kernel"]
    masks = tokens[:, h * w :] @ p["mask"]["kernel"]
    wanted = np.einsum("bnd,bkd->bnk", patches, masks) / np.sqrt(D)
    out = apply(x)
    np.testing.assert_allclose(out.logits, wanted.reshape(B, h, w, K), atol=1e-4)
    assert out.stride == 8


def test_what_is_padding_changes_nothing_elsewhere():
    apply, _ = random_head("segmenter", **SMALL, strides=(8,))
    mask = np.zeros((2, *HW), bool)
    mask[:, :24, :17] = True
    x = features(mask=mask)
    changed = x.replace(maps=dict(x.maps))
    # Rows 3 and on are padding; column 2 holds the last real pixel.
    changed.maps[8] = np.array(x.maps[8])
    changed.maps[8][:, 3:] = 7.0
    changed.maps[8][:, :, 3:] = -7.0
    one, other = (np.asarray(apply(f).logits) for f in (x, changed))
    np.testing.assert_allclose(one[:, :3, :3], other[:, :3, :3], atol=1e-5)
    assert np.abs(one - other).max() > 0.1
    everything = apply(x.replace(mask=None)).logits
    assert np.abs(one - np.asarray(everything))[:, :3, :3].max() > 1e-3


def test_an_image_of_padding_alone_stays_finite():
    apply, _ = random_head("segmenter", **SMALL, strides=(8,))
    out = apply(features(mask=np.zeros((2, *HW), bool)))
    assert np.isfinite(out.logits).all()


def test_learns():
    check_learns("segmenter", **SMALL, strides=(8,))


def test_two_strides_are_refused():
    with pytest.raises(UserError, match="expected one stride, such as"):
        construct("segmenter", strides=(8, 16))


def test_outputs_are_float32_under_bfloat16():
    assert outputs_shape("segmenter", dtype="bfloat16").logits.dtype == np.float32
