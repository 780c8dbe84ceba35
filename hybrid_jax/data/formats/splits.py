"""Names of splits, and splits of data that comes in one piece."""

import hashlib
from collections.abc import Iterable

# What folders and files call a split, by the library's own name of it.
USUAL_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
SPLIT_OF_NAME = {name: split for split, names in USUAL_NAMES.items() for name in names}


def usual_names(split: str) -> tuple[str, ...]:
    """Returns what `split` may be called on disk; for any other split its own name."""
    return USUAL_NAMES.get(split, (split,))


def share_of(names: Iterable[str], *, split: str) -> list[str]:
    """Returns the names that belong to `split`, sorted.

    A tenth is the test split, another tenth validation, at least one each of three or
    more, chosen by a hash of the names and so the same on every machine. A new name can
    move others to another split.

    Args:
        names: paths or ids without repetition.
        split: "train", "validation" or "test".
    """
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    tenth = max(len(by_hash) // 10, int(len(by_hash) >= 3))
    share = {
        "test": slice(0, tenth),
        "validation": slice(tenth, 2 * tenth),
        "train": slice(2 * tenth, None),
    }[split]
    return sorted(by_hash[share])
