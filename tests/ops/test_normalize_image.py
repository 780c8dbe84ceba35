"""Bytes to model inputs."""

import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops.normalize_image import POLICIES, normalize_image


@pytest.mark.parametrize("policy", POLICIES)
def test_normalize_equals_the_policy(policy):
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    mean, deviation = (np.asarray(v, np.float64) for v in POLICIES[policy])
    expected = (image / 255.0 - mean) / deviation
    # Values of at most 2.7 in float32.
    np.testing.assert_allclose(normalize_image(image, policy=policy), expected, atol=1e-6)


def test_half_maps_bytes_to_minus_one_and_one():
    ends = np.asarray([0, 255], np.uint8)[:, None, None, None] * np.ones(3, np.uint8)
    out = normalize_image(ends, policy="half")[:, 0, 0]
    np.testing.assert_allclose(out, [[-1.0] * 3, [1.0] * 3], atol=1e-6)


def test_imagenet_is_the_published_mean_and_deviation():
    assert POLICIES["imagenet"] == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_dtype_is_the_one_asked_for():
    image = np.zeros((1, 2, 3, 3), np.uint8)
    out = normalize_image(image, policy="half", dtype=jnp.bfloat16)
    assert out.dtype == jnp.bfloat16
