"""Formats by hand, overlaps against loops and torchvision's formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.ops import boxes as ops

# One program each, not one for each operation.
convert = jax.jit(ops.convert_boxes, static_argnums=(1, 2))
FORMATS = ("xyxy", "xywh", "cxcywh", "yxyx")


def random_boxes(*shape, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(1, 40, (*shape, 2))], -1)


def area(box):
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def overlaps(a, b):
    """Returns IoU and GIoU of two boxes, in Python's float64."""
    cut = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    hull = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    union = area(a) + area(b) - area(cut)
    return area(cut) / union, area(cut) / union - (area(hull) - union) / area(hull)


def test_each_format_by_hand():
    box = jnp.asarray([10.0, 20.0, 14.0, 28.0])
    expected = dict(
        xyxy=[10, 20, 14, 28], xywh=[10, 20, 4, 8], cxcywh=[12, 24, 4, 8]
    ) | dict(yxyx=[20, 10, 28, 14])
    for name in FORMATS:
        np.testing.assert_array_equal(
            convert(box, "xyxy", name), expected[name], err_msg=name
        )


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_every_format_leads_back(first, second):
    boxes = jnp.asarray(random_boxes(3, 5), jnp.float32)
    there = convert(boxes, first, second)
    np.testing.assert_allclose(convert(there, second, first), boxes, rtol=1e-5)


def test_unknown_format_is_named():
    with pytest.raises(ValueError, match="'xxyy'"):
        ops.convert_boxes(jnp.zeros(4), "xyxy", "xxyy")
    with pytest.raises(ValueError, match="'xxyy'"):
        ops.convert_boxes(jnp.zeros(4), "xxyy", "xyxy")


def test_pairwise_overlaps_equal_a_loop():
    a, b = random_boxes(2, 6), random_boxes(2, 4, seed=1)
    expected = np.asarray([[[overlaps(p, q) for q in b[i]] for p in a[i]] for i in (0, 1)])
    arrays = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    np.testing.assert_allclose(
        jax.jit(ops.pairwise_iou)(*arrays), expected[..., 0], atol=1e-6
    )
    np.testing.assert_allclose(
        jax.jit(ops.pairwise_giou)(*arrays), expected[..., 1], atol=1e-6
    )


def test_boxes_without_area_have_overlaps_and_slopes_that_are_finite():
    empty = jnp.asarray([[3.0, 3.0, 3.0, 3.0], [5.0, 5.0, 2.0, 9.0]])
    other = jnp.asarray([[3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 9.0, 9.0]])
    assert ops.box_area(empty).tolist() == [0.0, 0.0]
    for overlap in (ops.iou, ops.giou):
        total = jax.value_and_grad(lambda b, f=overlap: f(b, other).sum())
        value, slope = jax.jit(total)(empty)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


def test_mirrored_boxes_frame_the_mirrored_pixels():
    image = np.zeros((7, 11), bool)
    image[2:5, 1:4] = True
    box = ops.mirrored_boxes(jnp.asarray([1.0, 2.0, 4.0, 5.0]), width_px=11)
    rows, columns = np.where(image[:, ::-1])
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_array_equal(box, expected)


def test_original_boxes_undo_a_placement_and_stay_in_the_image():
    boxes = random_boxes(2, 3)
    scale, offset = np.asarray([[0.5, 2.0], [1.5, 0.25]]), np.asarray([[3, -4], [0, 7]])
    xyxy = [1, 0, 1, 0]
    placed = boxes * scale[:, None, xyxy] + offset[:, None, xyxy]
    where = dict(scale_yx=jnp.asarray(scale), offset_yx=jnp.asarray(offset))
    size = jnp.asarray([[200, 300], [200, 300]])
    found = ops.original_boxes(jnp.asarray(placed), **where, original_hw=size)
    np.testing.assert_allclose(found, boxes, rtol=1e-5)
    size = jnp.asarray([[30, 40], [40, 30]])
    found = ops.original_boxes(jnp.asarray(placed), **where, original_hw=size)
    limits = np.asarray([[40, 30, 40, 30], [30, 40, 30, 40]])[:, None]
    np.testing.assert_allclose(found, np.minimum(boxes, limits), rtol=1e-5)
