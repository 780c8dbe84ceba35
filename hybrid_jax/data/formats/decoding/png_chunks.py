"""The parts of a PNG file that Pillow reads late, or lets stand in the way of its pixels.

Format: ISO/IEC 15948, Portable Network Graphics.
"""

import io
import struct
from collections.abc import Iterator
from typing import IO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_METADATA = {b"eXIf", b"iTXt"}


def metadata_behind_pixels(file: IO[bytes]) -> dict[bytes, bytes]:
    """Returns the content of the `eXIf` and `iTXt` parts that follow the pixels, by name.

    Pixels are not read, only passed over; the place in the file is kept.
    """
    place = file.tell()
    found, pixels = {}, False
    for name, length in _headers(file):
        pixels = pixels or name == b"IDAT"
        if pixels and name in _METADATA:
            found[name] = file.read(length)
    file.seek(place)
    return found


def picture_alone(file: IO[bytes]) -> io.BytesIO:
    """Returns a PNG file of the parts that make its picture, without all metadata."""
    content = io.BytesIO()
    content.write(SIGNATURE)
    for name, length in _headers(file):
        if name in _PICTURE:
            # With its checksum: damaged pixels stay damaged.
            content.write(struct.pack(">I4s", length, name) + file.read(length + 4))
    content.seek(0)
    return content


def _headers(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yields name and length of each part; the file then stands at its content."""
    file.seek(len(SIGNATURE))
    while len(header := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", header)
        start = file.tell()
        yield name, length
        if name == b"IEND":
            return
        file.seek(start + length + 4)
