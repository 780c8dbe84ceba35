import numpy as np
import pytest
from data_examples import random_image
from PIL import Image

from hybrid_jax.data.transforms.randaugment import OPERATIONS, rand_augment

NO_CHANGE_AT_ZERO = set(OPERATIONS) - {"auto_contrast", "equalize"}


def _apply(name: str, image: np.ndarray, *, strength: float, seed: int = 0):
    picture = OPERATIONS[name](
        Image.fromarray(image), strength, np.random.default_rng(seed)
    )
    return np.asarray(picture).astype(int)


def test_there_are_the_fourteen_operations_of_the_paper():
    assert len(OPERATIONS) == 14


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
    results = [
        rand_augment(image, np.random.default_rng(seed), layers=2, magnitude=9.0)
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    assert results[0].shape == image.shape
    assert results[0].dtype == np.uint8


def test_rand_augment_without_layers_changes_nothing():
    image = random_image()
    rng = np.random.default_rng(0)
    assert rand_augment(image, rng, layers=0, magnitude=9.0) is image


def test_magnitude_above_ten_counts_as_ten():
    image = random_image()
    for seed in range(20):
        ten, more = (
            rand_augment(image, np.random.default_rng(seed), layers=2, magnitude=m)
            for m in (10.0, 30.0)
        )
        np.testing.assert_array_equal(ten, more)
