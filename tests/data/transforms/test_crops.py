import numpy as np
import pytest
from data_examples import random_image
from PIL import Image

from hybrid_jax.data.transforms.center_crop import CenterCrop
from hybrid_jax.data.transforms.pad_and_crop import PadAndCrop
from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.random_resized_crop import RandomResizedCrop
from hybrid_jax.data.transforms.resize import Resize
from hybrid_jax.data.transforms.sample import sample_of

RANDOM_CROP = dict(area=(0.08, 1.0), ratio=(0.75, 4 / 3), interpolation="bilinear")


def _image(transform, image, seed: int | None = None):
    """Returns the image alone after one transform of the image alone."""
    rng = None if seed is None else np.random.default_rng(seed)
    return transform(sample_of(dict(image=image), ()), rng).image


def test_resize_to_the_same_size_changes_nothing():
    image = random_image()
    assert _image(Resize((20, 30), "bicubic"), image) is image


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_resize_is_pillow_s_with_height_first(interpolation):
    image = random_image()
    resized = _image(Resize((9, 14), interpolation), image)
    method = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(image).resize((14, 9), method))
    np.testing.assert_array_equal(resized, expected)


def test_resize_is_antialiased():
    stripes = np.zeros((16, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    resized = _image(Resize((4, 16), "bilinear"), stripes)
    assert abs(resized[:, 2:-2].astype(int) - 127).max() <= 16


def test_random_resized_crop_depends_on_the_generator_only():
    image = random_image()
    transform = RandomResizedCrop((8, 10), **RANDOM_CROP)
    crops = [_image(transform, image, seed) for seed in (1, 1, 2)]
    assert crops[0].shape == (8, 10, 3)
    assert crops[0].flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()


def test_random_resized_crop_keeps_to_area_and_ratio():
    y, x = np.mgrid[0:200, 0:250]
    image = np.stack([x, y, y], axis=-1).astype(np.uint8)  # a pixel tells its place
    half = dict(area=(0.25, 0.5), ratio=(0.8, 1.25), interpolation="bilinear")
    transform = RandomResizedCrop((64, 64), **half)
    for seed in range(50):
        crop = _image(transform, image, seed).astype(float)
        width = (crop[:, -1, 0] - crop[:, 0, 0]).mean() * 64 / 63
        height = (crop[-1, :, 1] - crop[0, :, 1]).mean() * 64 / 63
        # Half a gray level of rounding at each end, and whole pixels of the rectangle.
        assert 0.24 < width * height / (200 * 250) < 0.52
        assert 0.77 < width / height < 1.29


def test_random_resized_crop_of_a_sliver_takes_the_center():
    image = np.zeros((4, 400, 3), np.uint8)
    image[:, 197:203] = 255
    transform = RandomResizedCrop((4, 5), **RANDOM_CROP | dict(area=(0.9, 1.0)))
    assert (_image(transform, image, 0) == 255).all()


def test_pad_and_crop_shifts_with_a_reflected_border():
    image = random_image(hw=(6, 7))
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = {padded[i : i + 6, j : j + 7].tobytes() for i in range(5) for j in range(5)}
    rng, whole = np.random.default_rng(0), sample_of(dict(image=image), ())
    transform = PadAndCrop((6, 7), 2, "bicubic")
    crops = [transform(whole, rng).image for _ in range(300)]
    # All 25 shifts come up: each is missed with probability 0.96 ** 300 = 5e-6.
    assert {crop.tobytes() for crop in crops} == windows
    assert all(crop.flags["C_CONTIGUOUS"] for crop in crops)


def test_pad_and_crop_resizes_first():
    crop = _image(PadAndCrop((32, 33), 4, "bicubic"), random_image(), 0)
    assert crop.shape == (32, 33, 3)


def test_pad_and_crop_without_border_changes_nothing():
    image = random_image()
    same = _image(PadAndCrop((20, 30), 0, "bicubic"), image, 0)
    np.testing.assert_array_equal(same, image)


def test_eval_crop_of_a_square_is_timm_s():
    image = random_image(hw=(300, 400))
    crop = _image(CenterCrop((224, 224), 0.875, "bicubic"), image)
    # Resize(256): the shorter side to 256, the other to int(256 * 400 / 300) = 341.
    resized = Image.fromarray(image).resize((341, 256), Image.Resampling.BICUBIC)
    # CenterCrop(224): left round(58.5) = 58, top 16.
    expected = np.asarray(resized.crop((58, 16, 58 + 224, 16 + 224)))
    np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize("source_hw", [(50, 200), (200, 50), (7, 9), (64, 96), (1, 1)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.33])
def test_eval_crop_covers_rectangles(source_hw, crop):
    image = np.full((*source_hw, 3), 255, np.uint8)
    result = _image(CenterCrop((24, 36), crop, "bilinear"), image)
    assert result.shape == (24, 36, 3)
    assert (result == 255).all()


def test_eval_crop_of_the_right_size_changes_nothing():
    image = random_image()
    same = _image(CenterCrop((20, 30), 1.0, "bicubic"), image)
    np.testing.assert_array_equal(same, image)


def test_eval_crop_of_a_strip_is_that_of_the_whole_strip_within_a_gray_level():
    # Fifty times as wide as high: resized as a whole it would have 50 times the pixels.
    image = random_image(hw=(8, 100)).repeat(4, 1)
    cut = _image(CenterCrop((24, 24), 0.75, "bicubic"), image)
    whole = _image(Resize((32, int(32 * 400 / 8)), "bicubic"), image)
    left = (whole.shape[1] - 24) // 2
    expected = whole[4:28, left : left + 24].astype(int)
    np.testing.assert_allclose(cut.astype(int), expected, atol=1)
    assert np.ptp(expected) > 100


def test_eval_crop_resizes_no_more_of_a_strip_than_it_must(monkeypatch):
    areas, laid = [], Placement.image

    def watched(place, image, **options):
        result = laid(place, image, **options)
        areas.append(result.shape[0] * result.shape[1])
        return result

    monkeypatch.setattr(Placement, "image", watched)
    for hw in ((5, 300), (300, 5), (9, 64), (20, 20)):
        _image(CenterCrop((24, 24), 0.75, "bicubic"), random_image(hw=hw))
    assert 32 * 32 < max(areas) <= 8 * 32 * 32  # (9, 64) is resized whole


@pytest.mark.parametrize("hw", [(1, 300_000), (300_000, 1)])
def test_slip_is_resized_in_memory_of_the_size_of_the_output(hw):
    # As a whole the slip would become 64 px high or 96 px wide, 10 GB.
    slip = np.zeros((*hw, 3), np.uint8)
    slip[hw[0] * 2 // 5 : hw[0] * 3 // 5 + 1, hw[1] * 2 // 5 : hw[1] * 3 // 5 + 1] = 255
    for transform in (Resize((64, 96), "bilinear"), CenterCrop((64, 96), 1.0, "bilinear")):
        image = _image(transform, slip)
        assert image.shape == (64, 96, 3)
        assert (image[30:34, 46:50] == 255).all()
