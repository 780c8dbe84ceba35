"""Images of 16 or 32 bits that use 14 or fewer: they would all be nearly black."""

import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.contracts import Source
from hybrid_jax.data.formats.decoding.decode import peak_of_16_bits
from hybrid_jax.data.reading import reading_as
from hybrid_jax.errors import UserError

_LOOKED_AT = 64  # examples, over the whole split
_FEW = 2  # upper bits that no image uses


def unused_bits(source: Source, data: ConfigDict) -> str:
    """Returns what keeps the 16-bit images of a source from being seen; '' if nothing does.

    Of other images only the headers are read, of sources without files nothing.
    """
    image_file = getattr(source, "image_file", None)
    if image_file is None or tuple(data.gray_range):
        return ""
    count = min(len(source), _LOOKED_AT)
    peaks: list[int] = []
    for index in np.linspace(0, len(source) - 1, count).astype(int).tolist():
        path = image_file(index)
        if path is None:  # images of no file, behind a source that checks them
            return ""
        with reading_as(data):
            peak = peak_of_16_bits(path)
        peaks += [] if peak is None else [peak]
    highest = max(peaks, default=0)
    if not 0 < highest < 2 ** (16 - _FEW):
        return ""
    bits = max(8, highest.bit_length())
    return (
        f"the {len(peaks)} images of 16 or 32 bits that were looked at have values up to "
        f"{highest} of 65535, so they would be nearly black. If they hold {bits} bits, set "
        f'--config.data.gray_range="(0,{2**bits - 1})"; if they are so dark, "(0,65535)"'
    )


def refuse_unused_bits(source: Source, data: ConfigDict) -> None:
    """Raises `UserError` if the 16-bit images of a source would be nearly black."""
    if found := unused_bits(source, data):
        raise UserError(f"data {data.name!r}: {found}.")
