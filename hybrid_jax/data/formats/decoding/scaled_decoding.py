"""Decoding JPEGs at 1/2, 1/4 or 1/8 of their size where no more of them is shown.

The inverse cosine transform of a block gives fewer pixels at once, which saves most of the
time that a large photo takes.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

ScaleOf = Callable[[tuple[int, int]], float]
"""(height, width) of an image in px -> px shown per px of the image, at most."""

# Pixels decoded for each one shown, along each side, so that resizing still averages.
# Pillow's `reducing_gap` takes 2 to be very close to fair; it is on average within a gray
# level of decoding it all (docs/data.md).
_SPARE = 2.0
_DIVISORS = (8, 4, 2)
_SCALE_OF: contextvars.ContextVar[ScaleOf | None] = contextvars.ContextVar(
    "scale_of", default=None
)


@contextlib.contextmanager
def decoded_for(scale_of: ScaleOf | None) -> Iterator[None]:
    """Lets images be decoded smaller within the block, in this thread.

    Args:
        scale_of: how large they are shown; None decodes all of them whole.
    """
    token = _SCALE_OF.set(scale_of)
    try:
        yield
    finally:
        _SCALE_OF.reset(token)


def divisor_of(hw: tuple[int, int]) -> int:
    """Returns 1, 2, 4 or 8, by which the sides of an upright image may be divided."""
    scale_of = _SCALE_OF.get()
    if scale_of is None:
        return 1
    most = 1 / (_SPARE * scale_of(hw))
    return next((divisor for divisor in _DIVISORS if divisor <= most), 1)
