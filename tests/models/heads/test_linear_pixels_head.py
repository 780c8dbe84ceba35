"""The linear head against the product it is."""

import numpy as np
import pytest
from small_head import check_learns, construct, features, outputs_shape, random_head

from hybrid_jax.errors import UserError


@pytest.mark.parametrize("stride", [8, 16])
def test_logits_are_a_product_at_every_cell(stride):
    apply, p = random_head("linear_pixels", strides=(stride,))
    x = features()
    out = apply(x)
    wanted = np.asarray(x.maps[stride], np.float64) @ p["logits"]["kernel"]
    np.testing.assert_allclose(out.logits, wanted + p["logits"]["bias"], atol=1e-5)
    assert out.stride == stride
    assert out.auxiliary is None


def test_learns():
    check_learns("linear_pixels", strides=(8,), rate=0.1)


def test_two_strides_are_refused():
    with pytest.raises(UserError, match="expected one stride, such as"):
        construct("linear_pixels", strides=(8, 16))


def test_outputs_are_float32_under_bfloat16():
    assert outputs_shape("linear_pixels", dtype="bfloat16").logits.dtype == np.float32
