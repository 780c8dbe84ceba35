"""Pointing game and energy inside boxes, on maps whose answer is known."""

import numpy as np
import pytest

from hybrid_jax.explaining.localization.heat_map_scores import (
    box_share,
    energy_in_boxes,
    inside_boxes,
    pointing_game,
)

BOXES = np.array([[1, 0, 3, 2], [2, 1, 4, 4]], np.float32)  # 4 and 6 px, one of them both


def test_boxes_cover_the_pixels_whose_center_they_hold():
    inside = inside_boxes(BOXES, image_hw=(4, 5))
    expected = ["01100", "01110", "00110", "00110"]
    assert ["".join(map(str, row.astype(int))) for row in inside] == expected
    assert box_share([BOXES], image_hw=(4, 5)) == pytest.approx(9 / 20)


def test_a_half_pixel_is_not_covered():
    boxes = np.array([[0.6, 0, 2.4, 1]])
    assert inside_boxes(boxes, image_hw=(1, 3)).tolist() == [[False, True, False]]


def test_hottest_pixel_counts_and_ties_are_shared():
    heat = np.zeros((3, 4, 5))
    heat[0, 3, 3], heat[0, 0, 0] = 2.0, 1.0  # inside
    heat[1, 0, 0], heat[1, 3, 3] = 2.0, 1.0  # outside
    heat[2, 0, :2] = 1.0  # one of each
    assert pointing_game(heat, [BOXES] * 3).tolist() == [1.0, 0.0, 0.5]


def test_energy_is_the_share_of_the_sum():
    heat = np.zeros((1, 4, 5))
    heat[0, 0, 0], heat[0, 0, 1], heat[0, 3, 3] = 1.0, 2.0, 5.0
    assert energy_in_boxes(heat, [BOXES]).tolist() == [7 / 8]


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_map_scores_what_the_boxes_cover(value):
    heat = np.full((2, 4, 5), value)
    for score in (pointing_game, energy_in_boxes):
        found = score(heat, [BOXES, np.zeros((0, 4))])
        assert found == pytest.approx([9 / 20, 0.0])
