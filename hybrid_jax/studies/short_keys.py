"""Dotted keys as people read them: no longer than it takes to tell them apart."""

from collections.abc import Collection


def short_keys(keys: Collection[str]) -> dict[str, str]:
    """Returns key -> its shortest ending, at a dot, that no other of the keys has."""
    return {key: _short(key, keys) for key in keys}


def _short(key: str, keys: Collection[str]) -> str:
    words = key.split(".")
    endings = [".".join(words[-count:]) for count in range(1, len(words))]
    for ending in endings:
        if sum(f".{other}".endswith(f".{ending}") for other in keys) == 1:
            return ending
    return key
