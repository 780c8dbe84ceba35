import numpy as np
import pytest
from data_examples import random_image
from PIL import Image

from hybrid_jax.data.transforms import geometry

RANDOM_CROP = dict(area=(0.08, 1.0), ratio=(0.75, 4 / 3), interpolation="bilinear")


def test_resize_to_the_same_size_changes_nothing():
    image = random_image()
    assert geometry.resize(image, hw=(20, 30), interpolation="bicubic") is image


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_resize_is_pillow_s_with_height_first(interpolation):
    image = random_image()
    resized = geometry.resize(image, hw=(9, 14), interpolation=interpolation)
    method = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(image).resize((14, 9), method))
    np.testing.assert_array_equal(resized, expected)


def test_resize_is_antialiased():
    stripes = np.zeros((16, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    resized = geometry.resize(stripes, hw=(4, 16), interpolation="bilinear")
    assert abs(resized[:, 2:-2].astype(int) - 127).max() <= 16


def test_random_resized_crop_depends_on_the_generator_only():
    image = random_image()
    crops = [
        geometry.random_resized_crop(
            image, np.random.default_rng(seed), hw=(8, 10), **RANDOM_CROP
        )
        for seed in (1, 1, 2)
    ]
    assert crops[0].shape == (8, 10, 3)
    assert crops[0].flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()


def test_random_resized_crop_keeps_to_area_and_ratio():
    y, x = np.mgrid[0:200, 0:250]
    image = np.stack([x, y, y], axis=-1).astype(np.uint8)  # a pixel tells its place
    rng = np.random.default_rng(0)
    for _ in range(50):
        crop = geometry.random_resized_crop(
            image,
            rng,
            hw=(64, 64),
            area=(0.25, 0.5),
            ratio=(0.8, 1.25),
            interpolation="bilinear",
        ).astype(float)
        width = (crop[:, -1, 0] - crop[:, 0, 0]).mean() * 64 / 63
        height = (crop[-1, :, 1] - crop[0, :, 1]).mean() * 64 / 63
        # Half a gray level of rounding at each end, and whole pixels of the rectangle.
        assert 0.24 < width * height / (200 * 250) < 0.52
        assert 0.77 < width / height < 1.29


def test_random_resized_crop_of_a_sliver_takes_the_center():
    image = np.zeros((4, 400, 3), np.uint8)
    image[:, 197:203] = 255
    crop = geometry.random_resized_crop(
        image,
        np.random.default_rng(0),
        hw=(4, 5),
        area=(0.9, 1.0),
        ratio=(0.75, 4 / 3),
        interpolation="bilinear",
    )
    assert (crop == 255).all()


def test_pad_and_crop_shifts_with_a_reflected_border():
    image = random_image(hw=(6, 7))
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = {padded[i : i + 6, j : j + 7].tobytes() for i in range(5) for j in range(5)}
    rng = np.random.default_rng(0)
    crops = [
        geometry.pad_and_crop(image, rng, hw=(6, 7), pad_px=2, interpolation="bicubic")
        for _ in range(300)
    ]
    # All 25 shifts come up: each is missed with probability 0.96 ** 300 = 5e-6.
    assert {crop.tobytes() for crop in crops} == windows
    assert all(crop.flags["C_CONTIGUOUS"] for crop in crops)


def test_pad_and_crop_resizes_first():
    crop = geometry.pad_and_crop(
        random_image(),
        np.random.default_rng(0),
        hw=(32, 33),
        pad_px=4,
        interpolation="bicubic",
    )
    assert crop.shape == (32, 33, 3)


def test_pad_and_crop_without_border_changes_nothing():
    image = random_image()
    rng = np.random.default_rng(0)
    same = geometry.pad_and_crop(image, rng, hw=(20, 30), pad_px=0, interpolation="bicubic")
    np.testing.assert_array_equal(same, image)


def test_eval_crop_of_a_square_is_timm_s():
    image = random_image(hw=(300, 400))
    crop = geometry.resize_and_center_crop(
        image, hw=(224, 224), crop=0.875, interpolation="bicubic"
    )
    # Resize(256): the shorter side to 256, the other to int(256 * 400 / 300) = 341.
    resized = Image.fromarray(image).resize((341, 256), Image.Resampling.BICUBIC)
    # CenterCrop(224): left round(58.5) = 58, top 16.
    expected = np.asarray(resized.crop((58, 16, 58 + 224, 16 + 224)))
    np.testing.assert_array_equal(crop, expected)
    assert crop.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("source_hw", [(50, 200), (200, 50), (7, 9), (64, 96), (1, 1)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.33])
def test_eval_crop_covers_rectangles(source_hw, crop):
    image = np.full((*source_hw, 3), 255, np.uint8)
    result = geometry.resize_and_center_crop(
        image, hw=(24, 36), crop=crop, interpolation="bilinear"
    )
    assert result.shape == (24, 36, 3)
    assert (result == 255).all()


def test_eval_crop_of_the_right_size_changes_nothing():
    image = random_image()
    same = geometry.resize_and_center_crop(
        image, hw=(20, 30), crop=1.0, interpolation="bicubic"
    )
    np.testing.assert_array_equal(same, image)
