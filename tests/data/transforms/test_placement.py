"""Where images, masks and boxes lie in a frame."""

import numpy as np
import pytest
from data_examples import random_image

from hybrid_jax.contracts import VOID
from hybrid_jax.data.transforms.letterbox import letterboxed
from hybrid_jax.data.transforms.placement import PADDING_U8, Placement
from hybrid_jax.data.transforms.resize import stretched
from hybrid_jax.data.transforms.sample import sample_of
from hybrid_jax.data.transforms.scale_jitter import scale_jittered

FRAME = (48, 64)


def _jittered(seed: int, *, original_hw=(90, 120)) -> Placement:
    rng = np.random.default_rng(seed)
    return scale_jittered(original_hw, rng, frame_hw=FRAME, scale=(0.3, 3.0))


def _cut(place: Placement, boxes_xyxy_px: np.ndarray):
    """Returns the sample after cutting boxes at the content of the frame."""
    example = dict(
        image=np.zeros((*place.original_hw, 3), np.uint8),
        boxes_xyxy_px=boxes_xyxy_px,
        box_labels=np.arange(len(boxes_xyxy_px)),
    )
    sample = sample_of(example, ("boxes",))
    return sample.placed(place, interpolation="bilinear").with_boxes_cut()


def test_scale_and_offset_lead_there_and_back():
    boxes = np.float32([[10, 20, 50, 60], [0, 0, 120, 90]])
    for place in (
        stretched((90, 120), frame_hw=FRAME),
        letterboxed((90, 100), frame_hw=FRAME),
    ):
        placed = place.boxes(np.minimum(boxes, place.original_hw[1]))
        scale = np.array(place.scale_yx[::-1] * 2)
        offset = np.array(place.offset_yx[::-1] * 2)
        expected = np.minimum(boxes, place.original_hw[1])
        np.testing.assert_allclose((placed - offset) / scale, expected, rtol=1e-5)


@pytest.mark.parametrize("fit", [stretched, letterboxed])
def test_image_of_the_frame_s_size_is_left_alone(fit):
    image, mask = random_image(hw=FRAME), random_image(1, hw=FRAME)[..., 0]
    boxes = np.float32([[1.25, 2.5, 30.125, 40]])
    place = fit(FRAME, frame_hw=FRAME)
    np.testing.assert_array_equal(place.image(image, interpolation="bicubic"), image)
    np.testing.assert_array_equal(place.mask(mask), mask)
    np.testing.assert_array_equal(place.boxes(boxes), boxes)


def test_crop_without_resizing_takes_pixels_as_they_are():
    image = random_image(hw=(100, 100))
    place = Placement((100, 100), (100, 100), (-20, -30), FRAME)
    expected = image[20:68, 30:94]
    np.testing.assert_array_equal(place.image(image, interpolation="bicubic"), expected)
    np.testing.assert_array_equal(place.mask(image[..., 0]), expected[..., 0])


def test_padding_is_gray_and_void():
    place = letterboxed((20, 10), frame_hw=FRAME)
    assert place.resized_hw == (48, 24)
    assert place.content_yxyx_px == (0, 0, 48, 24)
    image = place.image(np.zeros((20, 10, 3), np.uint8), interpolation="bicubic")
    mask = place.mask(np.zeros((20, 10), np.uint8))
    assert (image[:, 24:] == PADDING_U8).all()
    assert (mask[:, 24:] == VOID).all()
    assert not image[:, :24].any()
    assert not mask[:, :24].any()


@pytest.mark.parametrize("seed", range(5))
def test_everything_outside_the_content_is_padding(seed):
    place = _jittered(seed)
    mask = place.mask(np.ones(place.original_hw, np.uint8))
    top, left, bottom, right = place.content_yxyx_px
    expected = np.full(FRAME, VOID)
    expected[top:bottom, left:right] = 1
    np.testing.assert_array_equal(mask, expected)


def test_resized_masks_hold_ids_of_the_original_alone():
    ids = np.random.default_rng(0).choice(np.uint8([0, 7, 200, VOID]), (90, 120))
    for seed in range(10):
        mask = _jittered(seed).mask(ids)
        assert set(np.unique(mask)) <= {0, 7, 200, VOID}


def test_boxes_are_cut_at_the_frame_and_remnants_dropped():
    place = Placement((100, 100), (100, 100), (0, -50), FRAME)  # x 50 to 114, y 0 to 48
    boxes = [[40, 10, 60, 30], [10, 10, 55, 30], [0, 0, 50, 20], [70, 47.5, 80, 60]]
    sample = _cut(place, np.float32(boxes))
    # Half of the first is left, a ninth of the second, nothing of the third, and half a
    # pixel of the last.
    assert sample.box_labels.tolist() == [0]
    assert sample.boxes_xyxy_px.tolist() == [[0, 10, 10, 30]]
    assert (sample.cut_off, sample.vanished) == (3, 0)


def test_no_boxes_give_no_boxes():
    sample = _cut(_jittered(0), np.zeros((0, 4), np.float32))
    assert (sample.boxes_xyxy_px.shape, sample.box_labels.shape) == ((0, 4), (0,))
    assert (sample.cut_off, sample.vanished) == (0, 0)


def test_objects_of_less_than_a_pixel_are_left_out_and_counted():
    place = letterboxed((480, 640), frame_hw=FRAME)  # a tenth
    sample = _cut(place, np.float32([[0, 0, 9, 90], [0, 0, 11, 90], [50, 60, 55, 65]]))
    assert sample.box_labels.tolist() == [1]
    assert (sample.cut_off, sample.vanished) == (0, 2)


def test_sizes_are_spread_log_uniformly():
    heights = [_jittered(seed, original_hw=(480, 640)).resized_hw[0] for seed in range(800)]
    factors = np.array(heights) / FRAME[0]
    assert factors.min() == pytest.approx(0.3, abs=0.03)
    assert factors.max() == pytest.approx(3.0, abs=0.1)
    # The middle of a log-uniform range is the geometric mean of its ends.
    assert np.median(factors) == pytest.approx(np.sqrt(0.3 * 3.0), rel=0.12)


def test_thin_image_keeps_a_pixel():
    place = letterboxed((1, 500), frame_hw=FRAME)
    assert place.resized_hw == (1, 64)
    image = np.zeros((1, 500, 3), np.uint8)
    assert not place.image(image, interpolation="bicubic")[0].any()
