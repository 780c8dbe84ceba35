"""The exceptions that are shown to users.

A mistake of the user (a config key, a file, an image size) raises `UserError`. Its text
says where, what was expected, what was found and what to do. The command line prints it
without a traceback and exits with status 1.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can correct."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean 'x'?` for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


class BadImageError(UserError):
    """The image file of an example cannot be read; the message names the file."""


class BadAnnotationError(UserError):
    """An annotation of an example is invalid; the message names the file and the object."""
