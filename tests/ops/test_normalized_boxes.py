"""Shares of an image, of its content, and pixels."""

import jax.numpy as jnp
import numpy as np

from hybrid_jax.ops.normalized_boxes import (
    boxes_to_px,
    content_to_image_boxes,
    normalize_boxes,
)

HW = (40, 80)


def test_shares_are_of_width_and_height():
    px = jnp.array([[8.0, 10.0, 24.0, 30.0]])
    shares = normalize_boxes(px, image_hw=HW)
    np.testing.assert_allclose(shares, [[0.2, 0.5, 0.2, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(boxes_to_px(shares, image_hw=HW), px, rtol=1e-6)


def test_shares_of_content_become_shares_of_the_image():
    mask = np.zeros((1, *HW), bool)
    mask[0, 10:30, 40:80] = True
    ours = content_to_image_boxes(jnp.array([[[0.5, 0.25, 0.1, 0.5]]]), jnp.asarray(mask))
    px = [40 + 0.5 * 40, 10 + 0.25 * 20, 0.1 * 40, 0.5 * 20]
    np.testing.assert_allclose(ours[0, 0] * jnp.array([80, 40, 80, 40]), px, rtol=1e-6)
