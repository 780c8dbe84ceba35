"""Numbers as people read them."""

import datetime
import math
import re
from typing import Any

# Scores from 0 to 1 of all tasks and of single classes; top1_color is of a factor of the
# labels.
_SHARES = re.compile(
    r"top\d+(_\w+)?|ece|A[PR]\w*|mIoU|mAcc|aAcc|pixel_accuracy"
    r"|recall|precision|F1|IoU|accuracy"
)


def shown(value: Any) -> str:
    """Returns a value in few digits; a dash for what is not known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and 1 <= abs(value) < 1e15):
        return f"{int(value):,}"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:.2e}" if abs(value) < 1e-3 else f"{value:,.0f}"


def is_share(name: str) -> bool:
    """Whether a score of this name is a share of something, from 0 to 1."""
    return _SHARES.fullmatch(name) is not None


def per_cent(share: float) -> str:
    """Returns a share from 0 to 1 in per cent."""
    return f"{100 * share:.2f} %"


def shown_score(name: str, value: Any) -> str:
    """Returns a score: in per cent if it is a share of something, else as a number.

    Args:
        name: of the score.
        value: of it; None or not finite if it is not known.
    """
    if isinstance(value, int | float) and math.isfinite(value) and is_share(name):
        return per_cent(value)
    return shown(value)


def duration(seconds: float) -> str:
    """Returns a time in hours, minutes and seconds."""
    return str(datetime.timedelta(seconds=round(seconds)))


def in_short(count: float) -> str:
    """Returns a large number with a word for its size."""
    for size, word in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {word}"
    return f"{count:.3g}"
