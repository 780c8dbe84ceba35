"""What only the files of masks and images tell: how many classes, and how large."""

import concurrent.futures
import contextlib
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hybrid_jax.contracts import VOID
from hybrid_jax.data.formats.decoding.decode import image_hw, read_mask
from hybrid_jax.errors import BadAnnotationError, BadImageError

BINARY_NOTE = "masks hold 0 and 255 alone: 255 is the class 1, not void"
_FEW_MASKS = 200  # read in no time, so nothing is kept of them
_MOST_HEADERS = 25_000  # reading more would keep a user waiting
_SHOWN = 5  # ids in a sentence
_THREADS = 16  # files are waited for, not computed on


def ids_in(masks: Sequence[pathlib.Path]) -> frozenset[int]:
    """Returns every id, 0 to 255, that some mask holds.

    All are read: what one mask alone holds is a class too. For many masks the answer is
    kept in `HJ_MASK_IDS` (default `~/.cache/hybrid_jax/mask_ids`) until a file changes.
    Masks that cannot be read are left to those who ask for them.
    """
    return ids_of(
        len(masks),
        lambda index: _unless_unreadable(masks[index]),
        state=lambda: _state_of(masks),
    )


def ids_of(
    count: int,
    mask: Callable[[int], np.ndarray | None],
    *,
    state: Callable[[], bytes],
) -> frozenset[int]:
    """Returns every id, 0 to 255, that some mask holds; kept as for `ids_in`.

    Args:
        count: of masks.
        mask: index -> uint8 ids of any shape, or None if it cannot be read.
        state: gives bytes that change when the masks do.
    """
    kept = _kept_at(state()) if count > _FEW_MASKS else None
    if kept is not None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return frozenset(map(int, json.loads(kept.read_text())))
    held = functools.partial(_held, mask)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        found = np.any([*threads.map(held, range(count)), np.zeros(256, bool)], axis=0)
    ids = frozenset(np.flatnonzero(found).tolist())
    if kept is not None:
        with contextlib.suppress(OSError):  # a home that cannot be written to
            kept.parent.mkdir(parents=True, exist_ok=True)
            arriving = kept.with_name(f"{kept.name}.{os.getpid()}")
            arriving.write_text(json.dumps(sorted(ids)))
            arriving.replace(kept)
    return ids


def numbered_classes(ids: Iterable[int]) -> tuple[str, ...]:
    """Returns "0", "1", ... up to the largest id that is not void."""
    largest = max((number for number in ids if number != VOID), default=0)
    return tuple(str(number) for number in range(largest + 1))


def unseen_ids_note(ids: Iterable[int]) -> tuple[str, ...]:
    """Returns a sentence about classes of `numbered_classes` that no mask holds, if any."""
    count = len(numbered_classes(ids))
    unseen = sorted(set(range(count)) - set(ids))
    if not unseen:
        return ()
    shown = ", ".join(map(str, unseen[:_SHOWN])) + (", …" if len(unseen) > _SHOWN else "")
    return (
        f"no mask of training holds {len(unseen)} of the ids 0 to {count - 1} ({shown}): "
        f"name all classes in classes.txt, or give ids that are none another one by "
        f"data.label_map or data.ignore_label",
    )


def are_binary(ids: Iterable[int]) -> bool:
    """Whether masks of these ids are pictures in black and white, so 255 is a class."""
    return VOID in ids and set(ids) <= {0, VOID}


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


def _held(mask: Callable[[int], np.ndarray | None], index: int) -> np.ndarray:
    """Returns for each id, (256,) bool, whether a mask holds it."""
    ids = mask(index)
    if ids is None:
        return np.zeros(256, bool)
    return np.bincount(ids.ravel(), minlength=256) > 0


def _unless_unreadable(path: pathlib.Path) -> np.ndarray | None:
    with contextlib.suppress(BadImageError, BadAnnotationError):
        return read_mask(path)
    return None


def _state_of(masks: Sequence[pathlib.Path]) -> bytes:
    lines = []
    for path in masks:
        with contextlib.suppress(OSError):
            stat = path.stat()
            lines.append(f"{path.absolute()}\0{stat.st_mtime_ns}\0{stat.st_size}\n")
    return os.fsencode("".join(lines))


def _kept_at(state: bytes) -> pathlib.Path:
    default = pathlib.Path("~/.cache/hybrid_jax/mask_ids").expanduser()
    folder = pathlib.Path(os.environ.get("HJ_MASK_IDS", default))
    return folder / hashlib.sha256(state).hexdigest()


def _hw_if_readable(path: pathlib.Path) -> tuple[int, int] | None:
    with contextlib.suppress(BadImageError):
        return image_hw(path)
    return None
