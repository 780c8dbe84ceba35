import numpy as np
from data_examples import random_image

from hybrid_jax.data.transforms.photometric import color_jitter


def test_color_jitter_of_zero_changes_nothing():
    image = random_image()
    assert color_jitter(image, np.random.default_rng(0), strength=0.0) is image


def test_color_jitter_depends_on_the_generator_only():
    image = random_image()
    one, same, other = (
        color_jitter(image, np.random.default_rng(seed), strength=0.4) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert one.shape == image.shape
    assert one.dtype == np.uint8


def test_color_jitter_keeps_brightness_within_its_factor():
    gray = np.full((8, 9, 3), 100, np.uint8)  # contrast and saturation do nothing to it
    means = [
        color_jitter(gray, np.random.default_rng(seed), strength=0.5).mean()
        for seed in range(40)
    ]
    assert 49 <= min(means) < 75
    assert 125 < max(means) <= 151
