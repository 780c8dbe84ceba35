"""Where examples come from: `open_source("digits", split="train")`.

A source is one file in this package with one function registered under the word before
the colon of `data.name`; it gets the text after the colon and the split.
"""

from hybrid_jax.contracts import Source
from hybrid_jax.registry import Registry

SOURCES = Registry("data source", package="hybrid_jax.data.sources")


def open_source(name: str, *, split: str) -> Source:
    """Returns random access to one split of a data set.

    Args:
        name: `KIND` or `KIND:LOCATION`, e.g. "digits" or "folder:/data/birds".
        split: "train", "validation", "test", or another split the data set has.

    Raises:
        UserError: no such kind, data set, location or split.
    """
    kind, _, location = name.partition(":")
    return SOURCES.get(kind)(location, split=split)
