"""What only the files of masks and images tell: how many classes, and how large."""

import concurrent.futures
import contextlib
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from hybrid_jax.contracts import VOID
from hybrid_jax.data.formats.decode import image_hw, read_mask
from hybrid_jax.errors import BadAnnotationError, BadImageError

_MASKS_READ = 200
_MOST_HEADERS = 25_000  # reading more would keep a user waiting
_THREADS = 16  # files are waited for, not computed on


def numbered_classes(masks: Sequence[pathlib.Path]) -> tuple[str, ...]:
    """Returns "0", "1", ... up to the largest id in up to 200 of the masks.

    They are taken at even distances. Masks that cannot be read are left to those who ask
    for them.
    """
    step = max(1, -(-len(masks) // _MASKS_READ))
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        largest = max(threads.map(_largest_id, masks[::step]), default=0)
    return tuple(str(number) for number in range(largest + 1))


def largest_hw(images: Iterable[pathlib.Path]) -> tuple[int, int] | None:
    """Returns (height, width) in px that no image exceeds, by the files' headers.

    None for 25,000 images and more, and if not one can be read.
    """
    images = list(images)
    if len(images) >= _MOST_HEADERS:
        return None
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        sizes = [hw for hw in threads.map(_hw_if_readable, images) if hw]
    if not sizes:
        return None
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def _largest_id(path: pathlib.Path) -> int:
    with contextlib.suppress(BadImageError, BadAnnotationError):
        mask = read_mask(path)
        return int(np.max(mask, initial=0, where=mask != VOID))
    return 0


def _hw_if_readable(path: pathlib.Path) -> tuple[int, int] | None:
    with contextlib.suppress(BadImageError):
        return image_hw(path)
    return None
