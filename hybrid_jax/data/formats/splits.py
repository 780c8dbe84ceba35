"""Names of splits, and splits of data that comes in one piece."""

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

K = TypeVar("K")

# What folders and files call a split, by the library's own name of it, in lower case.
USUAL_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF_NAME = {name: split for split, names in USUAL_NAMES.items() for name in names}


def split_called(name: str) -> str | None:
    """Returns the split that a name of any case stands for; None for other names."""
    return _SPLIT_OF_NAME.get(name.lower())


def usual_names(split: str) -> tuple[str, ...]:
    """Returns what `split` may be called on disk; for any other split its own name."""
    words = USUAL_NAMES.get(split)
    if words is None:
        return (split,)
    return (*words, *map(str.capitalize, words), *map(str.upper, words))


def share_of(names: Iterable[str], *, split: str) -> list[str]:
    """Returns the names that belong to `split`, sorted.

    A tenth is the test split, another tenth validation, at least one each of three or
    more, chosen by a hash of the names and so the same on every machine. A new name can
    move others to another split.

    Args:
        names: paths or ids without repetition.
        split: "train", "validation" or "test".
    """
    by_hash = sorted(set(names), key=name_hash)
    tenth = max(len(by_hash) // 10, int(len(by_hash) >= 3))
    share = {
        "test": slice(0, tenth),
        "validation": slice(tenth, 2 * tenth),
        "train": slice(2 * tenth, None),
    }[split]
    return sorted(by_hash[share])


def held_out(names: Iterable[str], *, split: str) -> list[str]:
    """Returns what is left of a training split, or taken out of it for validation.

    For data with a training split and none for validation. A tenth is taken out, at least
    one of five or more, by a hash of the names, so the same on every machine.

    Args:
        names: of the whole training split, paths or ids without repetition.
        split: "train" or "validation".

    Returns:
        Sorted names.
    """
    by_hash = sorted(set(names), key=name_hash)
    tenth = max(len(by_hash) // 10, int(len(by_hash) >= 5))
    share = {"validation": slice(0, tenth), "train": slice(tenth, None)}[split]
    return sorted(by_hash[share])


def shared_by_class(
    groups: Mapping[K, Collection[str]], *, split: str, share: Callable[..., list[str]]
) -> dict[K, list[str]]:
    """Returns the names of each class that belong to `split`.

    Every class is shared out by itself; all names together if each class has too few.

    Args:
        groups: class -> names, no name twice.
        split: "train", "validation" or "test".
        share: `share_of` or `held_out`.
    """
    by_class = {k: share(names, split=split) for k, names in groups.items()}
    if any(share(names, split="validation") for names in groups.values()):
        return by_class
    chosen = set(share([n for names in groups.values() for n in names], split=split))
    return {k: sorted(chosen.intersection(names)) for k, names in groups.items()}


def held_out_note(count: int, *, of: int) -> str:
    """Returns the sentence that says so: `count` names of a training split of `of`."""
    return (
        f"there is no validation split: {count} of the {of} training images are held out "
        f"for it, by a hash of their names; the others train"
    )


def shared_out_note(of: int) -> str:
    """Returns the sentence that says so of `of` names that have no splits at all."""
    return (
        f"there are no splits: of the {of} images a tenth is the test split and another "
        f"tenth validation, by a hash of their names; the others train"
    )


def name_hash(name: str) -> bytes:
    """Returns what names are put in a random order by, the same on every machine."""
    # Names have several forms of one letter, and may be no UTF-8 at all.
    one_form = unicodedata.normalize("NFC", name)
    return hashlib.sha256(one_form.encode(errors="surrogatepass")).digest()
