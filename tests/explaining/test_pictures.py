"""Pictures of any image: the heat lies where it belongs, and sizes stay legible."""

import numpy as np
import pytest

from hybrid_jax.data.transforms.center_crop import CenterCrop
from hybrid_jax.data.transforms.sample import sample_of
from hybrid_jax.explaining.drawing.color_map import colored, overlaid, scaled
from hybrid_jax.explaining.drawing.explained_image import ExplainedImage
from hybrid_jax.explaining.drawing.panels import Panel, in_rows
from hybrid_jax.explaining.drawing.pictures import all_maps, overview
from hybrid_jax.explaining.explanation import CellMap, Explanation

GREEN = (50, 200, 50)  # of no letter


def explained(hw, *, size=(64, 64), share=0.8):
    image = np.full((*hw, 3), 128, np.uint8)
    sample = CenterCrop(size, share, "bilinear")(sample_of(dict(image=image), ()), None)
    return ExplainedImage(image, sample)


def test_lightness_rises_with_heat():
    colors = colored(np.linspace(0, 1, 101)).astype(float)
    luma = colors @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luma) > -0.5).all()
    assert luma[-1] - luma[0] > 150
    assert colors[0].tolist() == [68, 1, 84]
    assert colors[-1].tolist() == [253, 231, 37]


def test_a_map_of_zeros_is_dark_everywhere():
    assert not scaled(np.zeros((2, 3))).any()
    black, everywhere = np.zeros((2, 3, 3), np.uint8), np.ones((2, 3), bool)
    found = overlaid(black, scaled(np.zeros((2, 3))), seen=everywhere)
    assert (found == np.rint(colored(np.zeros(())) * 0.6)).all()


@pytest.mark.parametrize(
    ("hw", "longer"),
    [((320, 240), 320), ((32, 32), 320), ((2160, 3840), 960), ((60, 400), 400)],
)
def test_pictures_have_a_legible_size(hw, longer):
    picture = explained(hw).picture()
    assert max(picture.shape[:2]) == longer
    height, width = picture.shape[:2]
    assert height / width == pytest.approx(hw[0] / hw[1], rel=0.03)


@pytest.mark.parametrize("hw", [(48, 96), (400, 300), (2160, 3840)])
def test_heat_lies_on_the_pixels_the_model_saw(hw):
    image = explained(hw)
    heat = np.zeros((64, 64), np.float32)
    heat[16:20, 40:44] = 1.0  # px of the model's input
    picture = image.with_heat(heat).astype(float)
    y, x = np.nonzero(picture[..., 0] > 160)  # yellow is red; gray is 128
    factor = picture.shape[0] / hw[0]
    for found, at, axis in ((y, 18, 0), (x, 42, 1)):
        original = (found.mean() + 0.5) / factor
        expected = at - image.sample.offset_yx[axis]
        expected /= image.sample.scale_yx[axis]
        assert original == pytest.approx(expected, abs=max(hw) / 60)


def test_what_was_cropped_away_stays_gray():
    picture = explained((64, 128)).with_heat(np.zeros((64, 64), np.float32))
    middle = picture.shape[0] // 2
    assert picture[middle, 2].tolist() == [128, 128, 128]
    assert np.ptp(picture[middle, picture.shape[1] // 2].astype(int)) > 10


@pytest.mark.parametrize(
    ("hw", "share", "part"),
    [
        ((64, 128), 0.8, "51 x 51 of 128 x 64 px"),  # 64 / 80 of the shorter side
        ((100, 100), 0.8, "80 x 80 of 100 x 100 px"),
        ((128, 64), 1.0, "64 x 64 of 64 x 128 px"),
    ],
)
def test_a_crop_is_said(hw, share, part):
    image = explained(hw, share=share)
    assert f"the center of the image, {part} (width x height)" in image.crop_note()
    found = Explanation(
        classes=np.zeros(1, int),
        scores=np.zeros(1),
        cams=dict(stage4=CellMap(np.ones((1, 2, 2), np.float32), 32)),
        reached=dict(stage4=True),
        rollout=None,
        attention=(),
        levels={},
        position_similarity=None,
        image_hw=(64, 64),
        missing=(),
    )
    more = overview(image, found, label="fox").shape[0]
    whole = ExplainedImage(image.image_u8, sample_of(dict(image=image.image_u8), ()))
    assert more > overview(whole, found, label="fox").shape[0]
    assert all_maps(image, found).shape[0] > all_maps(whole, found).shape[0]


@pytest.mark.parametrize("hw", [(64, 64), (333, 333), (37, 37)])
def test_nothing_is_said_of_a_whole_image(hw):
    assert explained(hw, share=1.0).crop_note() == ""


def test_panels_do_not_overlap_and_notes_are_below():
    panels = [
        [Panel(np.full((40, 60, 3), GREEN, np.uint8), "first"), Panel(dark(30), "second")],
        [Panel(dark(20), "a title that is much longer than its panel is wide")],
    ]
    without = in_rows(panels, font_px=14)
    picture = in_rows(panels, notes=["one line"], font_px=14)
    assert picture.shape[0] > without.shape[0]
    assert (picture == GREEN).all(-1).sum() == 40 * 60
    assert (picture == 0).all(-1).sum() >= 30 * 30 + 20 * 20


def dark(side):
    return np.zeros((side, side, 3), np.uint8)
