"""Where the lines of a chart's grid are."""

import dataclasses
import math
from collections.abc import Iterable

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range of values along some px.

    Attributes:
        low: value at the beginning.
        high: value at the end.
        ticks: values of the lines of the grid.
        is_log: whether equal factors have equal length.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Returns where a value is, from 0 to 1."""
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            return (math.log10(value) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)


def axis_over(values: Iterable[float], *, count: int, is_log: bool = False) -> Axis:
    """Returns an axis over finite values with about `count` round ticks."""
    values = list(values) or [0.0, 1.0]
    low, high = min(values), max(values)
    if is_log and low > 0.0:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        last = max(last, first + 1)
        every = max(1, round((last - first) / count))
        ticks = tuple(10.0**n for n in range(first, last + 1, every))
        return Axis(10.0**first, 10.0**last, ticks, is_log=True)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = size * next(s for s in _STEPS if s * size >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(n * step for n in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def tick_text(value: float) -> str:
    """Returns a tick in few characters."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.5e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.6g}"
