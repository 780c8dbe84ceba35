"""Values of json files, in which anything may stand where a number or an id is meant."""

import math
from typing import Any

_LARGEST = 2**63 - 1  # what an array of numbers holds


def whole_number(value: Any) -> int | None:
    """Returns the value if it is a whole number of 64 bits, also as 3.0; None otherwise."""
    number = finite_number(value)
    if number is None or number != int(number) or abs(int(value)) > _LARGEST:
        return None
    return int(value)


def finite_number(value: Any) -> float | None:
    """Returns the value as a float; None if it is no number, or none that is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def identifier(value: Any) -> int | str | None:
    """Returns the value if it can be an id: a whole number of 64 bits or a text."""
    return value if isinstance(value, str) else whole_number(value)
