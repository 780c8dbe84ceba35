"""Image, mask and boxes move alike: painted rectangles land where their boxes do."""

import numpy as np
import pytest
from data_examples import random_image

from hybrid_jax.data.transforms.placement import (
    PADDING_U8,
    VOID,
    Placement,
    letterboxed,
    scale_jittered,
    stretched,
)

FRAME = (48, 64)


def _jittered(seed: int, *, original_hw=(90, 120)) -> Placement:
    rng = np.random.default_rng(seed)
    return scale_jittered(original_hw, rng, frame_hw=FRAME, scale=(0.3, 3.0))


def _painted(box_xyxy: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Returns a mask (H, W) uint8 that is 1 inside a box of whole px."""
    x0, y0, x1, y1 = box_xyxy
    mask = np.zeros(hw, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def _box_of(painted: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_boxes_masks_and_images_move_alike():
    rng = np.random.default_rng(0)
    compared = 0
    for seed in range(150):
        place = _jittered(seed)
        x0, y0 = rng.integers(0, 80), rng.integers(0, 50)
        box = np.array([x0, y0, x0 + rng.integers(10, 40), y0 + rng.integers(10, 40)])
        painted = _painted(box, (90, 120))
        (placed,), (kept,) = place.boxes(box[None].astype(np.float32))
        if not kept:
            continue
        mask = place.mask(painted)
        image = place.image(
            painted[..., None].repeat(3, -1) * 255, interpolation="bilinear"
        )
        top, left, bottom, right = place.content_yxyx_px
        bright = np.zeros(FRAME, bool)
        bright[top:bottom, left:right] = image[top:bottom, left:right, 0] > 127
        # Pixels are whole: each side is at most one off, half a pixel where it is rounded.
        np.testing.assert_allclose(_box_of(mask == 1), placed, atol=1.0)
        np.testing.assert_allclose(_box_of(bright), placed, atol=1.0)
        compared += 1
    assert compared > 80


def test_scale_and_offset_lead_there_and_back():
    boxes = np.float32([[10, 20, 50, 60], [0, 0, 120, 90]])
    for place in (
        stretched((90, 120), frame_hw=FRAME),
        letterboxed((90, 100), frame_hw=FRAME),
    ):
        placed, kept = place.boxes(np.minimum(boxes, place.original_hw[1]))
        scale = np.array(place.scale_yx[::-1] * 2)
        offset = np.array(place.offset_yx[::-1] * 2)
        expected = np.minimum(boxes, place.original_hw[1])
        np.testing.assert_allclose((placed - offset) / scale, expected, rtol=1e-5)
        assert kept.all()


@pytest.mark.parametrize("fit", [stretched, letterboxed])
def test_image_of_the_frame_s_size_is_left_alone(fit):
    image, mask = random_image(hw=FRAME), random_image(1, hw=FRAME)[..., 0]
    boxes = np.float32([[1.25, 2.5, 30.125, 40]])
    place = fit(FRAME, frame_hw=FRAME)
    np.testing.assert_array_equal(place.image(image, interpolation="bicubic"), image)
    np.testing.assert_array_equal(place.mask(mask), mask)
    np.testing.assert_array_equal(place.boxes(boxes)[0], boxes)


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
    cut, kept = place.boxes(np.float32(boxes))
    # Half of the first is left, a ninth of the second, nothing of the third, and half a
    # pixel of the last.
    assert kept.tolist() == [True, False, False, False]
    assert cut[0].tolist() == [0, 10, 10, 30]


def test_no_boxes_give_no_boxes():
    cut, kept = _jittered(0).boxes(np.zeros((0, 4), np.float32))
    assert (cut.shape, kept.shape) == ((0, 4), (0,))


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
