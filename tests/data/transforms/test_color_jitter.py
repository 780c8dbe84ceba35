import numpy as np
from data_examples import random_image

from hybrid_jax.data.transforms.color_jitter import ColorJitter
from hybrid_jax.data.transforms.letterbox import Letterbox
from hybrid_jax.data.transforms.placement import PADDING_U8
from hybrid_jax.data.transforms.sample import sample_of


def _jittered(image, seed, *, strength):
    sample = sample_of(dict(image=image), ())
    return ColorJitter(strength)(sample, np.random.default_rng(seed)).image


def test_color_jitter_of_zero_changes_nothing():
    image = random_image()
    assert _jittered(image, 0, strength=0.0) is image


def test_color_jitter_depends_on_the_generator_only():
    image = random_image()
    one, same, other = (_jittered(image, seed, strength=0.4) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert one.shape == image.shape
    assert one.dtype == np.uint8


def test_color_jitter_keeps_brightness_within_its_factor():
    gray = np.full((8, 9, 3), 100, np.uint8)  # contrast and saturation do nothing to it
    means = [_jittered(gray, seed, strength=0.5).mean() for seed in range(40)]
    assert 49 <= min(means) < 75
    assert 125 < max(means) <= 151


def test_padding_keeps_its_gray():
    sample = sample_of(dict(image=random_image()), ())
    plain = Letterbox((12, 16), "bicubic")(sample, None)
    for seed in range(4):
        image = ColorJitter(0.9)(plain, np.random.default_rng(seed)).image
        # As if there were no padding: it does not pull at the contrast.
        content = _jittered(plain.image[:11], seed, strength=0.9)
        np.testing.assert_array_equal(image[:11], content)
        assert (image[:11] != plain.image[:11]).any()
        assert (image[11:] == PADDING_U8).all()
