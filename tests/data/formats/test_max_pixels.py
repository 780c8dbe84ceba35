"""Huge images are refused by the key that allows them, wherever they are read."""

import numpy as np
import pytest
from data_examples import data_config, random_image, write_class_folders
from PIL import Image

from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.data.formats.decoding.decode import at_most_pixels, image_hw, read_image
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadImageError


@pytest.fixture(autouse=True)
def own_limit_of_pillow(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)


@pytest.fixture
def photo(tmp_path):
    """A picture of 1,200 px, which Pillow itself refuses here."""
    path = tmp_path / "photo.png"
    Image.fromarray(random_image(hw=(30, 40))).save(path)
    return path


def test_message_names_the_key(photo):
    for read in (read_image, image_hw):
        with (
            at_most_pixels(1000),
            pytest.raises(
                BadImageError,
                match="photo.png' is larger than config.data.max_p.* = 1000",
            ),
        ):
            read(photo)


def test_limit_may_be_lower_and_higher_than_pillow_s(photo):
    small = photo.with_name("small.png")
    Image.fromarray(random_image(hw=(20, 30))).save(small)
    with at_most_pixels(599), pytest.raises(BadImageError, match="it has 20x30 px"):
        read_image(small)
    with at_most_pixels(1199), pytest.raises(BadImageError, match="max_pixels = 1199"):
        read_image(photo)
    with at_most_pixels(1200):
        assert read_image(photo).shape == (30, 40, 3)


def test_loader_holds_the_limit_of_its_config(tmp_path):
    write_class_folders(tmp_path, {"train/a": 2, "val/a": 1})  # of 192 px
    source = open_source(f"folder:{tmp_path}", split="train")
    random = np.random.default_rng(0)
    for read in (lambda it: it.train(0, random), lambda it: it.evaluate(0)):
        loader = ExampleLoader(source, data=data_config(max_pixels=191), targets=["label"])
        with pytest.raises(BadImageError, match="max_pixels = 191"):
            read(loader)
        loader = ExampleLoader(source, data=data_config(max_pixels=192), targets=["label"])
        assert read(loader)["mask"]
    skip = data_config(max_pixels=191, on_bad_image="skip")
    assert not ExampleLoader(source, data=skip, targets=["label"]).evaluate(0)["mask"]
