"""Images given to `predict`: the same pixels, whether as a file or as a Pillow image."""

import numpy as np
import pytest
from PIL import Image

from hybrid_jax.data.formats.decoding.decode import read_image
from hybrid_jax.errors import BadImageError
from hybrid_jax.predicting.given_images import GivenImages

_ORIENTATION = 0x0112


def _saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def _turned():
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    return exif


@pytest.mark.parametrize("loaded", [False, True], ids=["opened", "loaded"])
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("deep.png", np.uint16, {}),
        ("deep.tif", np.uint16, {}),
        ("turned.jpg", np.uint8, dict(exif=_turned(), quality=95)),
        ("turned.png", np.uint8, dict(exif=_turned())),
    ],
)
def test_pillow_image_is_read_as_its_file_is(tmp_path, name, kind, options, loaded):
    most = np.iinfo(kind).max
    pixels = np.random.default_rng(0).integers(0, most, (12, 20), kind, endpoint=True)
    path = _saved(tmp_path / name, pixels, **options)
    with Image.open(path) as image:
        if loaded:
            image.load()
        given = GivenImages(image)
        np.testing.assert_array_equal(given.pixels(0), read_image(path))
    assert given.info.largest_hw == read_image(path).shape[:2]


@pytest.mark.parametrize("as_picture", [False, True], ids=["path", "picture"])
def test_file_that_is_cut_short_is_named_with_what_to_do(tmp_path, as_picture):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    path = _saved(tmp_path / "cut.png", pixels)
    path.write_bytes(path.read_bytes()[:200])
    given = GivenImages([Image.open(path) if as_picture else path])
    with pytest.raises(BadImageError) as caught:
        given[0]
    assert f"predict: {'image 0' if as_picture else path} cannot be read" in str(
        caught.value
    )
    assert "--config" not in str(caught.value)  # there is no command line
