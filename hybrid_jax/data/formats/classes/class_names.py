"""Names of classes that the data itself gives: their order, and what looks odd."""

import itertools
from collections.abc import Collection, Iterable

_SHOWN = 5


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns names without repetition: numbers by their size, others alphabetically."""
    distinct = set(names)
    if all(name.isdecimal() for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def gap_note(ids: Collection[int]) -> str:
    """Returns a sentence about ids that leave some out; '' if they do not.

    Args:
        ids: of classes, as they are written in the data.
    """
    if not ids:
        return ""
    least, most, distinct = min(ids), max(ids), set(ids)
    count = most - least + 1 - len(distinct)
    if not count:
        return ""
    numbers = (number for number in range(least, most) if number not in distinct)
    missing = list(itertools.islice(numbers, _SHOWN))
    more = ", …" if count > _SHOWN else ""
    return (
        f"the ids of the {len(distinct)} classes run from {least} to {most} and leave out "
        f"{count} ({', '.join(map(str, missing))}{more}): in the model they are 0 to "
        f"{len(distinct) - 1}"
    )


def alike_note(names: Iterable[str]) -> str:
    """Returns a sentence about names that differ by case or spaces alone, if any do."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault("".join(name.split()).replace("_", "").casefold(), name)
        if other != name:
            return (
                f"the classes {other!r} and {name!r} differ by case or spaces alone; they "
                f"are two classes unless the data calls them the same"
            )
    return ""


def one_class_note(names: tuple[str, ...]) -> str:
    """Returns a sentence about labels of one class alone; '' if there are more."""
    if len(names) != 1:
        return ""
    return f"there is one class only, {names[0]!r}: nothing to tell apart"
