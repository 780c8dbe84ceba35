"""The mistakes every source can be asked to answer for: a split or a place it lacks."""

from collections.abc import Iterable

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import UserError, nearest


def check_split(name: str, *, split: str, splits: Iterable[str]) -> None:
    """Raises `UserError` unless `split` is one of `splits` of the data set `name`."""
    splits = tuple(splits)
    if split not in splits:
        raise UserError(
            f"data {name!r}: unknown split {split!r}.{nearest(split, splits)} "
            f"It has: {', '.join(splits)}."
        )


def check_no_location(name: str, *, location: str) -> None:
    """Raises `UserError` if something follows the name of an embedded data set."""
    if location:
        raise UserError(
            f"data {name!r} comes with the library and takes no location, "
            f"got {location!r} after the colon. Write data.name={name!r}."
        )


def check_location(name: str, *, location: str, example: str) -> None:
    """Raises `UserError` if nothing follows the name of a source that needs a place."""
    if not location:
        raise UserError(
            f"data {name!r}: expected a location after a colon, e.g. "
            f"data.name={name + ':' + example!r}, got none."
        )


def check_class_names(name: str, *, info: DatasetInfo) -> None:
    """Raises `UserError` if the classes of labels have names, but not one each."""
    if info.class_names and len(info.class_names) != info.num_classes:
        raise UserError(
            f"data {name!r}: info: expected one of class_names for each of the "
            f"{info.num_classes} classes (num_classes), got {len(info.class_names)}."
        )
