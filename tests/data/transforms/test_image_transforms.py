import pickle

import numpy as np
import pytest
from data_examples import data_config, random_image

from hybrid_jax.data.transforms.image import EvalTransform, TrainTransform


@pytest.mark.parametrize("crop", ["resize", "random_resized", "pad"])
@pytest.mark.parametrize("extras", [{}, {"randaugment_layers": 2, "color_jitter": 0.4}])
def test_train_transform_gives_rectangles_of_bytes(crop, extras):
    transform = TrainTransform(data_config(crop=crop, **extras))
    image = transform(random_image(), np.random.default_rng(0))
    assert image.shape == (12, 16, 3)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]


def test_train_transform_of_the_right_size_copies_nothing():
    image = random_image(hw=(12, 16))
    transform = TrainTransform(data_config(crop="resize"))
    assert transform(image, np.random.default_rng(0)) is image


@pytest.mark.parametrize("extra", [{"randaugment_layers": 2}, {"color_jitter": 0.5}])
def test_train_transform_uses_each_augmentation(extra):
    image = random_image(hw=(12, 16))
    transform = TrainTransform(data_config(crop="resize", **extra))
    changed = [transform(image, np.random.default_rng(seed)) for seed in range(5)]
    assert any((image != c).any() for c in changed)


def test_transforms_survive_pickling():
    image = random_image()
    data = data_config(crop="random_resized", randaugment_layers=1)
    for transform, args in (
        (TrainTransform(data), lambda: (image, np.random.default_rng(0))),
        (EvalTransform(data), lambda: (image,)),
    ):
        copy = pickle.loads(pickle.dumps(transform))
        np.testing.assert_array_equal(transform(*args()), copy(*args()))


def test_eval_transform_keeps_the_center():
    image = np.zeros((24, 32, 3), np.uint8)
    image[6:18, 8:24] = 255
    transform = EvalTransform(data_config(eval_crop=0.5))
    assert (transform(image) == 255).all()
