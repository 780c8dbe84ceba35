import warnings

import numpy as np
import pytest
from data_examples import random_image, truncate
from PIL import Image

from hybrid_jax.data.formats.decoding.decode import as_rgb, image_hw, read_image, read_mask
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


def test_rgb_png_is_read_bit_for_bit(tmp_path):
    image = random_image()
    Image.fromarray(image).save(tmp_path / "a.png")
    decoded = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded, image)
    assert decoded.flags["C_CONTIGUOUS"]


def test_exif_orientation_is_applied(tmp_path):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, :10] = 255  # left third white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=95, exif=exif)
    decoded = read_image(tmp_path / "a.jpg")
    assert decoded.shape == (30, 20, 3)
    assert decoded[:8].mean() > 240  # the left became the top
    assert decoded[12:].mean() < 15


def test_gray_is_replicated(tmp_path):
    gray = random_image()[..., 0]
    Image.fromarray(gray).save(tmp_path / "a.png")
    decoded = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded, np.stack([gray] * 3, axis=-1))


def test_palette_gives_its_colors(tmp_path):
    picture = Image.new("P", (4, 3), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns if this is not converted with care
        decoded = read_image(tmp_path / "a.png")
    assert decoded.shape == (3, 4, 3)
    assert (decoded == (200, 100, 50)).all()


def test_transparency_is_dropped_not_blended(tmp_path):
    rgba = np.dstack([random_image(), np.full((20, 30), 7, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgba[..., :3])


def test_16_bit_gray_keeps_its_upper_bits(tmp_path):
    gray = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(gray).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp"])
def test_truncated_file_is_named(tmp_path, extension):
    path = tmp_path / f"torn.{extension}"
    Image.fromarray(random_image()).save(path)
    truncate(path)
    with pytest.raises(BadImageError, match=f"torn.{extension}' cannot be read: .*skip"):
        read_image(path)


def test_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UserError, match="text.jpg"):
        read_image(tmp_path / "text.jpg")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(BadImageError, match="gone.png"):
        read_image(tmp_path / "gone.png")


def test_as_rgb_refuses_two_channels():
    with pytest.raises(ValueError, match=r"1, 3 or 4 channels.*\(2, 3, 2\)"):
        as_rgb(np.zeros((2, 3, 2), np.uint8))


_IDS = np.array([[0, 1, 2], [254, 255, 7]], np.uint8)


def _palette(ids: np.ndarray) -> Image.Image:
    picture = Image.fromarray(ids, "L").convert("P")
    picture.putdata(ids.ravel().tolist())
    picture.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    return picture


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_mask_is_read_as_stored(tmp_path, mode):
    pictures = {
        "L": Image.fromarray(_IDS),
        "P": _palette(_IDS),
        "I;16": Image.fromarray(_IDS.astype(np.uint16)),
    }
    pictures[mode].save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == mode
    ids = read_mask(tmp_path / "mask.png")
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, _IDS)


def test_mask_of_one_bit_is_zero_and_one(tmp_path):
    Image.fromarray(_IDS > 1).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_mask_of_equal_channels_is_its_one_channel(tmp_path, mode):
    alpha = np.full(_IDS.shape, 200, np.uint8)
    channels = [_IDS] * len(mode.removesuffix("A")) + [alpha] * mode.endswith("A")
    Image.fromarray(np.dstack(channels)).save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == mode
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), _IDS)


def test_mask_of_floats_is_read_if_they_are_whole(tmp_path):
    Image.fromarray(_IDS.astype(np.float32)).save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif"), _IDS)
    for wrong in (0.5, np.nan, np.inf):
        Image.fromarray(np.float32([[0, wrong]])).save(tmp_path / "mask.tif")
        with pytest.raises(BadAnnotationError, match="mask.tif'.* whole numbers"):
            read_mask(tmp_path / "mask.tif")


def test_mask_of_colors_is_refused(tmp_path):
    Image.fromarray(random_image()).save(tmp_path / "mask.png")
    with pytest.raises(BadAnnotationError, match=r"mask.png'.*gray or palette.* 'RGB'"):
        read_mask(tmp_path / "mask.png")


def test_mask_with_ids_beyond_a_byte_is_refused(tmp_path):
    Image.fromarray(np.array([[3, 256]], np.uint16)).save(tmp_path / "mask.png")
    with pytest.raises(BadAnnotationError, match=r"mask.png'.* got 3 to 256"):
        read_mask(tmp_path / "mask.png")


def test_missing_mask_is_named(tmp_path):
    with pytest.raises(BadImageError, match="gone.png"):
        read_mask(tmp_path / "gone.png")


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_size_from_the_header_is_that_of_the_decoded_image(
    tmp_path, extension, orientation
):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = tmp_path / f"a.{extension}"
    Image.fromarray(random_image()).save(path, exif=exif)
    assert image_hw(path) == read_image(path).shape[:2]


def test_size_of_a_file_that_is_no_image_names_it(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(BadImageError, match="text.jpg"):
        image_hw(tmp_path / "text.jpg")
