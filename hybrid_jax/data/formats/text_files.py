"""Text that people's tools wrote: in any usual encoding, with or without a mark."""

import codecs
import pathlib

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: pathlib.Path) -> str:
    """Returns the text of a file, decoded by its byte-order mark, else as UTF-8.

    What is no UTF-8 is read as Windows-1252, which older editors write without saying so.

    Raises:
        OSError: the file cannot be read.
    """
    return decoded(path.read_bytes())


def decoded(content: bytes) -> str:
    """Returns bytes of a text file as text, see `read_text`."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
