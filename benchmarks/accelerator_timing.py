"""How long one call takes when many are sent to a device one after another."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

_WARM_UPS = 3
_REPEATS = 3
_MOST_CALLS = 200  # in one repeat


def seconds_a_call(call: Callable[[], Any], *, seconds: float) -> tuple[float, float]:
    """Times a call of a compiled function; only the last call of many is waited for.

    Args:
        seconds: to spend, after some calls that are not counted.

    Returns:
        The median of three repeats, and (longest - shortest) / median of them.
    """
    jax.block_until_ready([call() for _ in range(_WARM_UPS)][-1])
    count = max(_REPEATS, min(_MOST_CALLS, int(seconds / _REPEATS / _timed(call, 1))))
    times = [_timed(call, count) for _ in range(_REPEATS)]
    middle = statistics.median(times)
    return middle, (max(times) - min(times)) / middle


def _timed(call, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        last = call()
    jax.block_until_ready(last)
    return (time.perf_counter() - started) / count
