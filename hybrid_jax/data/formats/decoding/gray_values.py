"""Gray values of more than 8 bits, or with a fraction, as bytes from black to white."""

import contextlib
import contextvars
from collections.abc import Iterator

import numpy as np

Range = tuple[float, float]
_RANGE: contextvars.ContextVar[Range | None] = contextvars.ContextVar(
    "gray_range", default=None
)


class GrayValuesError(ValueError):
    """Values that may mean several things."""


@contextlib.contextmanager
def gray_values_in(black_white: Range | None) -> Iterator[None]:
    """Takes such values to lie in a range within the block, in this thread.

    Args:
        black_white: the values of black and of white; None for the ones that the type of
            the numbers has.
    """
    token = _RANGE.set(black_white)
    try:
        yield
    finally:
        _RANGE.reset(token)


def gray_bytes(gray: np.ndarray, *, bits: int = 16) -> np.ndarray:
    """Turns integers or floats of any shape to uint8, from black 0 to white 255.

    In the range of `gray_values_in`, what is beyond is black or white. Without one,
    integers reach from 0 to 2**bits - 1, of which the upper eight bits are kept, and floats
    from 0 to 1 or, if any is above 1, to 255.

    Raises:
        GrayValuesError: NaN, or values beyond these and no range.
    """
    least, most = gray.min(), gray.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        raise GrayValuesError("its values are not all finite numbers")
    floats = np.issubdtype(gray.dtype, np.floating)
    chosen = _RANGE.get()
    if chosen is not None:
        black, white = chosen
    elif floats:
        black, white = 0, 1 if most <= 1 else 255
    else:
        black, white = 0, 2**bits - 1
    if chosen is None and (least < black or most > white):
        raise GrayValuesError(
            f"its values are from {least:g} to {most:g}. Say which of them are black and "
            f'white: --config.data.gray_range="({least:g},{most:g})"'
        )
    if chosen is None and not floats:
        return (gray.astype(np.int64) >> (bits - 8)).astype(np.uint8)
    shares = (gray.astype(np.float64) - black) / (white - black)
    return np.round(255 * np.clip(shares, 0, 1)).astype(np.uint8)
