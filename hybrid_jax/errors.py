"""The one exception a user is meant to read.

Everything a user can get wrong (a config key, a file, an image size) raises
`UserError`, whose text says where, what was expected, what was found and what to do.
The command line prints it without a traceback and exits with status 1.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake the reader of the message can put right."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean 'x'?` for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


class BadImageError(UserError):
    """One example's file cannot be read; the message names the file."""


class BadAnnotationError(UserError):
    """One example's annotation cannot be true; the message names file and object."""
