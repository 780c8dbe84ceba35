"""Orientation wherever a file keeps it, and metadata that nobody can make sense of."""

import io
import struct
import zlib

import numpy as np
import pytest
from data_examples import random_image
from PIL import Image, ImageOps, PngImagePlugin

from hybrid_jax.data.formats.decoding.decode import image_hw, read_image, read_mask
from hybrid_jax.errors import BadImageError

_XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {}/></x:xmpmeta>'


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _png(*, before: bytes = b"", behind: bytes = b"") -> bytes:
    """Returns a PNG of 20x30 px with parts in front of and behind its pixels."""
    file = io.BytesIO()
    Image.fromarray(random_image()).save(file, "PNG")
    content = file.getvalue()
    head, tail = 33, len(content) - 12  # signature and IHDR; IEND
    return content[:head] + before + content[head:tail] + behind + content[tail:]


def _chunk(name: bytes, data: bytes, *, wrong: int = 0) -> bytes:
    checksum = zlib.crc32(name + data) ^ wrong
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def _itxt(text: str) -> bytes:
    return _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text.encode())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
def test_all_orientations_are_applied_as_pillow_does(tmp_path, ending, orientation):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(random_image()).save(path, exif=_exif(orientation))
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    read = read_image(path)
    np.testing.assert_array_equal(read, expected)
    assert image_hw(path) == read.shape[:2]


_TIFF_6 = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "parts",
    [
        dict(before=_chunk(b"eXIf", _TIFF_6)),
        dict(behind=_chunk(b"eXIf", _TIFF_6)),
        dict(before=_itxt(_XMP.format('tiff:Orientation="6"'))),
        dict(behind=_itxt(_XMP.format('tiff:Orientation="6"'))),
        dict(behind=_itxt("<tiff:Orientation>6</tiff:Orientation>")),
    ],
)
def test_orientation_of_png_is_found_anywhere(tmp_path, parts):
    (tmp_path / "a.png").write_bytes(_png(**parts))
    expected = np.rot90(random_image(), -1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    assert image_hw(tmp_path / "a.png") == (30, 20)


def test_size_of_png_is_known_without_its_pixels(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(_png(behind=_chunk(b"eXIf", _TIFF_6)))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    assert image_hw(tmp_path / "a.png") == (30, 20)


def _jpeg(*entries: tuple, extra: bytes = b"") -> bytes:
    """Returns a JPEG of 20x30 px whose EXIF has these entries, written as they are."""
    file = io.BytesIO()
    Image.fromarray(random_image()).save(file, "JPEG")
    body = b"".join(struct.pack("<HHI", *e[:3]) + e[3] for e in entries)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body
    exif += struct.pack("<I", 0) + extra
    content = file.getvalue()
    size = struct.pack(">H", len(exif) + 2)
    return content[:2] + b"\xff\xe1" + size + exif + content[2:]


_TURN = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
_BEHIND = struct.pack("<I", 8 + 2 + 24 + 4)


@pytest.mark.parametrize(
    ("content", "hw"),
    [
        # A resolution of -1/0, and of text; a date that is a fraction.
        (_jpeg(_TURN, (0x011A, 10, 1, _BEHIND), extra=struct.pack("<ii", -1, 0)), (30, 20)),
        (_jpeg(_TURN, (0x011A, 2, 4, b"72 \0")), (30, 20)),
        (_jpeg(_TURN, (0x0132, 5, 1, _BEHIND), extra=struct.pack("<II", 1, 2)), (30, 20)),
        (_jpeg((0x0112, 2, 4, b"abc\0")), (20, 30)),
        (_jpeg((0x0112, 3, 1, struct.pack("<HH", 77, 0))), (20, 30)),
        (_jpeg((0x0112, 5, 1, b"\xff" * 4)), (20, 30)),
        (_png(before=_chunk(b"eXIf", b"nothing")), (20, 30)),
        (_png(behind=_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")), (20, 30)),
        # A text with a wrong checksum, and one that unpacks to more than Pillow allows.
        (_png(before=_chunk(b"tEXt", b"a\0b", wrong=1)), (20, 30)),
        (_png(before=_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 25)))), (20, 30)),
    ],
)
def test_odd_metadata_makes_no_picture_unreadable(tmp_path, content, hw):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert read_image(path).shape[:2] == image_hw(path) == hw


def test_damaged_pixels_stay_unreadable(tmp_path):
    content = _png(before=_chunk(b"tEXt", b"a\0b", wrong=1))
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadImageError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_masks_are_turned_alike(tmp_path):
    ids = np.arange(600, dtype=np.uint16).reshape(20, 30) % 200
    path = tmp_path / "a.png"
    Image.fromarray(ids.astype(np.uint8)).save(path, exif=_exif(6))
    np.testing.assert_array_equal(read_mask(path), np.rot90(ids, -1))
