"""What the `data` branch of a config says of reading images, wherever they are read."""

import contextlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from hybrid_jax.data.formats.decoding.decode import at_most_pixels
from hybrid_jax.data.formats.decoding.gray_values import gray_values_in


@contextlib.contextmanager
def reading_as(data: ConfigDict) -> Iterator[None]:
    """Reads images as `data.max_pixels` and `data.gray_range` say, in this thread."""
    gray = tuple(data.gray_range) or None
    with at_most_pixels(data.max_pixels), gray_values_in(gray):
        yield
