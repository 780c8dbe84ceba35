"""Images of floats and of more than 8 bits: seen as they are meant, or asked about."""

import numpy as np
import pytest
from data_examples import data_config
from PIL import Image

from hybrid_jax.data.checks.unused_bits import refuse_unused_bits, unused_bits
from hybrid_jax.data.formats.decoding.decode import read_image
from hybrid_jax.data.formats.decoding.gray_values import gray_values_in
from hybrid_jax.data.reading import reading_as
from hybrid_jax.data.sources import open_source, open_split
from hybrid_jax.errors import BadImageError, UserError


def gray_of(folder, values, *, name="a.tif", **options):
    """Writes one row of pixels and returns what is read of it."""
    Image.fromarray(np.array([values])).save(folder / name, **options)
    image = read_image(folder / name)
    assert image.dtype == np.uint8
    assert (image == image[..., :1]).all()
    return image[0, :, 0].tolist()


def test_floats_reach_to_one_or_to_255(tmp_path):
    assert gray_of(tmp_path, np.float32([0, 0.25, 0.5, 1])) == [0, 64, 128, 255]
    assert gray_of(tmp_path, np.float32([0, 0.25, 99.6, 255])) == [0, 0, 100, 255]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.float32([-0.5, 0.5]), r'-0.5 to 0.5.*gray_range="\(-0.5,0.5\)"'),
        (np.float32([0, 3000.5]), "from 0 to 3000.5"),
        (np.float32([0, np.nan]), "not all finite"),
        (np.float32([0, np.inf]), "not all finite"),
        (np.int32([-1024, 3071]), "from -1024 to 3071"),
        (np.int32([0, 70_000]), "from 0 to 70000"),
    ],
)
def test_what_may_mean_anything_is_asked_about(tmp_path, values, said):
    with pytest.raises(BadImageError, match=rf"a.tif': its values are .*{said}"):
        gray_of(tmp_path, values)


def test_range_of_the_config_is_black_and_white(tmp_path):
    with reading_as(data_config(gray_range=(-1000, 1000))):
        found = gray_of(tmp_path, np.int32([-2000, -1000, 0, 1000, 2000]))
        assert found == [0, 0, 128, 255, 255]
        assert gray_of(tmp_path, np.float32([-1000, 500.0])) == [0, 191]
        assert gray_of(tmp_path, np.uint8([7, 200])) == [7, 200]  # 8 bits are what they are
    with gray_values_in((0, 4095)):
        twelve = np.uint16([0, 16, 2048, 4095])
        assert gray_of(tmp_path, twelve, name="a.png") == [0, 1, 128, 255]


def test_bits_that_a_tiff_says_are_used(tmp_path):
    """Pillow reads 12 bits a sample, two in three bytes, but does not write them."""
    raw = bytes([0x12, 0x3F, 0xFF])  # 0x123 and 0xFFF
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 277: 1, 278: 1, 279: len(raw)}
    tags[273] = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + tags[tag].to_bytes(4, "little")
        for tag in sorted(tags)
    )
    head = b"II*\0\x08\0\0\0" + len(tags).to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(head + entries + bytes(4) + raw)
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0x12, 0xFF]


def folder_of(path, peaks):
    for at, peak in enumerate(peaks):
        values = np.linspace(0, peak, 64).reshape(8, 8).astype(np.uint16)
        (path / "train" / "ab"[at % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path / "train" / "ab"[at % 2] / f"{at}.png")
    return open_source(f"folder:{path}", split="train")


@pytest.mark.parametrize(("peak", "white"), [(4095, 4095), (900, 1023), (16_000, 16_383)])
def test_bits_that_no_image_uses_are_asked_about(tmp_path, peak, white):
    source = folder_of(tmp_path, [peak // 2] * 29 + [peak])
    match = rf'up to {peak} of 65535.*gray_range="\(0,{white}\)".*"\(0,65535\)"'
    with pytest.raises(UserError, match=match):
        refuse_unused_bits(source, data_config())
    assert not unused_bits(source, data_config(gray_range=(0, 65_535)))


def test_32_bit_integers_that_are_nearly_black_are_asked_about(tmp_path):
    folder_of(tmp_path, [60_000] * 6)
    for file in (tmp_path / "train").rglob("*.png"):
        values = np.arange(256, dtype=np.int32).reshape(16, 16)
        Image.fromarray(values).save(file.with_suffix(".tif"))
        file.unlink()
    source = open_source(f"folder:{tmp_path}", split="train")
    assert "up to 255 of 65535" in unused_bits(source, data_config())
    assert 'gray_range="(0,255)"' in unused_bits(source, data_config())


def test_one_bright_image_shows_that_all_bits_are_used(tmp_path):
    assert not unused_bits(folder_of(tmp_path, [900] * 29 + [60_000]), data_config())


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_images_without_files_are_not_looked_at(name):
    data = data_config(name=name)
    assert not unused_bits(open_split(data, split="train"), data)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0\xff", b"GIF89a"])
def test_damaged_files_are_left_to_who_reads_them(tmp_path, content):
    source = folder_of(tmp_path, [60_000] * 6)
    (tmp_path / "train/a/0.png").write_bytes(content)
    assert not unused_bits(source, data_config())
