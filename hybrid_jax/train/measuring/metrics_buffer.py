"""Scalars of training steps on their way from the devices to the host."""

import collections
from collections.abc import Mapping

import jax

from hybrid_jax.train.measuring.finite_check import check_finite
from hybrid_jax.train.optimization.schedule import Schedule

# Steps the host may run ahead of the devices: enough to hide its own work, few enough
# that a stop request is answered soon.
_AHEAD = 2


class MetricsBuffer:
    """Takes the scalars of each step without waiting for them, and fetches them together.

    Args:
        schedule: step, counted from 0 -> learning rate; for messages.
    """

    def __init__(self, *, schedule: Schedule):
        self._schedule = schedule
        self._pending: collections.deque[tuple[int, Mapping[str, jax.Array]]]
        self._pending = collections.deque()

    def push(self, step: int, scalars: Mapping[str, jax.Array]) -> None:
        """Takes the scalars of a step; waits until the devices are two steps behind."""
        self._pending.append((step, scalars))
        if len(self._pending) > _AHEAD:
            jax.block_until_ready(self._pending[-1 - _AHEAD][1])

    def drain(self, *, last_saved: int | None) -> dict[str, float]:
        """Fetches and checks all that wait; returns the newest as floats, {} for none.

        All steps pushed so far are then done.

        Args:
            last_saved: step of the newest checkpoint, for the message.

        Raises:
            NonFiniteError: a step whose loss or gradient is not finite.
        """
        newest: dict[str, float] = {}
        fetched = jax.device_get([scalars for _, scalars in self._pending])
        for (step, _), scalars in zip(self._pending, fetched, strict=True):
            newest = {name: float(value) for name, value in scalars.items()}
            rate = float(self._schedule(step - 1))
            check_finite(step, newest, learning_rate=rate, last_saved=last_saved)
        self._pending.clear()
        return newest
