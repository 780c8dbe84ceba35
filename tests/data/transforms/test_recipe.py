import pickle

import numpy as np
import pytest
from data_examples import data_config, random_image
from dense_examples import example

from hybrid_jax.data.transforms.center_crop import CenterCrop
from hybrid_jax.data.transforms.letterbox import Letterbox
from hybrid_jax.data.transforms.recipe import evaluation_recipe, training_recipe
from hybrid_jax.data.transforms.resize import Resize
from hybrid_jax.data.transforms.sample import sample_of

CROPS = ("resize", "random_resized", "pad", "letterbox", "scale_jitter")
LABEL, BOXES = ("label",), ("boxes",)


def _image(recipe, image, seed=0):
    sample, rng = sample_of(dict(image=image), ()), np.random.default_rng(seed)
    for transform in recipe:
        sample = transform(sample, rng)
    return sample.image


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("extras", [{}, {"randaugment_layers": 2, "color_jitter": 0.4}])
def test_training_gives_rectangles_of_bytes(crop, extras):
    image = _image(training_recipe(data_config(crop=crop, **extras)), random_image())
    assert image.shape == (12, 16, 3)
    assert image.dtype == np.uint8


def test_image_of_the_right_size_is_not_copied():
    image = random_image(hw=(12, 16))
    assert _image(training_recipe(data_config(crop="resize")), image) is image


@pytest.mark.parametrize("extra", [{"randaugment_layers": 2}, {"color_jitter": 0.5}])
def test_training_uses_each_augmentation(extra):
    image = random_image(hw=(12, 16))
    recipe = training_recipe(data_config(crop="resize", **extra))
    changed = [_image(recipe, image, seed) for seed in range(5)]
    assert any((image != c).any() for c in changed)


@pytest.mark.parametrize("crop", CROPS)
def test_recipes_write_to_no_array_of_the_source(crop):
    given, kept = example(), example()
    changes = dict(crop=crop, color_jitter=0.5, randaugment_layers=3)
    data = data_config(image_size=(20, 30), **changes)
    for seed in range(5):
        sample = sample_of(given, ("boxes", "segmentation"))
        for transform in training_recipe(data):
            sample = transform(sample, np.random.default_rng(seed))
    for key in kept:
        np.testing.assert_array_equal(given[key], kept[key])


def test_recipes_survive_pickling():
    image = random_image()
    data = data_config(crop="random_resized", randaugment_layers=1)
    for recipe in (training_recipe(data), evaluation_recipe(data, targets=LABEL)):
        copy = pickle.loads(pickle.dumps(recipe))
        np.testing.assert_array_equal(_image(recipe, image), _image(copy, image))


def test_evaluation_of_labels_keeps_the_center():
    image = np.zeros((24, 32, 3), np.uint8)
    image[6:18, 8:24] = 255
    recipe = evaluation_recipe(data_config(eval_crop=0.5), targets=LABEL)
    assert (_image(recipe, image) == 255).all()


@pytest.mark.parametrize("crop", CROPS)
def test_evaluation_is_of_whole_images_where_training_or_the_targets_are(crop):
    whole = crop in ("letterbox", "scale_jitter")
    for fit, kind in dict(letterbox=Letterbox, resize=Resize).items():
        data = data_config(crop=crop, eval_fit=fit)
        (of_label,) = evaluation_recipe(data, targets=LABEL)
        assert type(of_label) is (kind if whole else CenterCrop)
        for targets in (BOXES, (*LABEL, *BOXES), ("segmentation",)):
            (fits,) = evaluation_recipe(data, targets=targets)
            assert type(fits) is kind
