import numpy as np
import pytest
from data_examples import random_image
from PIL import Image

from hybrid_jax.data.transforms.affine import rotation, warped_picture
from hybrid_jax.data.transforms.letterbox import Letterbox
from hybrid_jax.data.transforms.placement import PADDING_U8
from hybrid_jax.data.transforms.rand_augment import (
    MOTIONS,
    OPERATIONS,
    RECOLORINGS,
    RandAugment,
)
from hybrid_jax.data.transforms.sample import sample_of

NO_CHANGE_AT_ZERO = set(OPERATIONS) - {"auto_contrast", "equalize"}


def _apply(name: str, image: np.ndarray, *, strength: float, seed: int = 0):
    picture, rng = Image.fromarray(image), np.random.default_rng(seed)
    if name in MOTIONS:
        picture = warped_picture(picture, MOTIONS[name](picture.size, strength, rng))
    else:
        picture = RECOLORINGS[name](picture, strength, rng)
    return np.asarray(picture).astype(int)


def _augmented(image, seed, *, layers, magnitude):
    sample, rng = sample_of(dict(image=image), ()), np.random.default_rng(seed)
    return RandAugment(layers, magnitude)(sample, rng).image


def test_there_are_the_fourteen_operations_of_the_paper():
    assert len(OPERATIONS) == 14
    assert set(OPERATIONS) == {*MOTIONS, *RECOLORINGS}


@pytest.mark.parametrize("degrees", [-30, 7.5, 30])
def test_rotation_is_pillow_s(degrees):
    picture = Image.fromarray(random_image(hw=(21, 34)))
    turned = warped_picture(picture, rotation(degrees, size=picture.size))
    gray = (PADDING_U8,) * 3
    expected = picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=gray)
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(expected))


def test_padding_of_the_crop_keeps_its_gray_unless_it_moves():
    sample = Letterbox((12, 16), "bicubic")(sample_of(dict(image=random_image()), ()), None)
    for seed in range(40):
        image = RandAugment(1, 10.0)(sample, np.random.default_rng(seed)).image
        name = OPERATIONS[np.random.default_rng(seed).integers(len(OPERATIONS))]
        if name in RECOLORINGS:
            assert (image[11:] == PADDING_U8).all()


@pytest.mark.parametrize("name", sorted(NO_CHANGE_AT_ZERO))
def test_operation_without_strength_changes_nothing(name):
    image = random_image()
    np.testing.assert_array_equal(_apply(name, image, strength=0.0), image)


@pytest.mark.parametrize("name", sorted(NO_CHANGE_AT_ZERO - {"identity"}))
def test_operation_changes_more_with_more_strength(name):
    # Smooth, so that a longer shift means a larger difference.
    image = random_image(hw=(4, 6)).repeat(12, axis=0).repeat(12, axis=1)
    weak, strong = (
        abs(_apply(name, image, strength=strength) - image).mean()
        for strength in (0.2, 1.0)
    )
    assert 0 < weak < strong


def test_translation_uncovers_gray():
    image = np.zeros((20, 40, 3), np.uint8)
    shifted = _apply("translate_x", image, strength=1.0)
    assert (shifted == 128).all(axis=(0, 2)).sum() == 18  # 0.45 of 40 columns


def test_rand_augment_depends_on_the_generator_only():
    image = random_image()
    results = [_augmented(image, seed, layers=2, magnitude=9.0) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    assert results[0].shape == image.shape
    assert results[0].dtype == np.uint8


def test_rand_augment_without_layers_changes_nothing():
    image = random_image()
    assert _augmented(image, 0, layers=0, magnitude=9.0) is image


def test_magnitude_above_ten_counts_as_ten():
    image = random_image()
    for seed in range(20):
        ten, more = (_augmented(image, seed, layers=2, magnitude=m) for m in (10.0, 30.0))
        np.testing.assert_array_equal(ten, more)
