"""Names of runs where there is little room: workdirs are often named after a command."""

import re
from collections.abc import Sequence

from hybrid_jax.train.report_page.markup import Html, element, joined

_LONG = 30  # letters of a name that is shown whole everywhere
_BEGIN, _END = 8, 16  # letters that are shown of a longer one


def short_names(names: Sequence[str]) -> list[str]:
    """Returns names for heads of columns and legends: long ones numbered and cut inside.

    Args:
        names: in the order of their numbers, which begin with 1.
    """
    return [
        f"{n}: {name[:_BEGIN]}…{name[-_END:]}" if len(name) > _LONG else name
        for n, name in enumerate(names, 1)
    ]


def whole_names(names: Sequence[str]) -> list[Html]:
    """Returns the names that `short_names` stands for, with the same numbers."""
    return [
        joined(f"{n}: " if len(name) > _LONG else None, breakable(name))
        for n, name in enumerate(names, 1)
    ]


def breakable(text: str) -> Html:
    """Returns a text that may be broken after its commas and slashes.

    A line would else end in the midst of a word, or after the hyphen of `lr=3e-4`.
    """
    pieces = re.findall(r"[^,/]+[,/]*\s*|[,/]+\s*", text)
    spans = [element("span", piece, class_="piece") for piece in pieces]
    return Html(element("wbr").join(spans))


def is_long(name: str) -> bool:
    """Whether a name takes more room than a heading has."""
    return len(name) > _LONG
