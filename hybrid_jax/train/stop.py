"""Noticing that the machine is about to be taken away."""

import signal

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """True once SIGTERM has arrived at any process of the run.

    With several processes all of them must leave at the same step; JAX's preemption
    service agrees on one. Alone, a signal handler is enough.
    """

    def __init__(self):
        self._asked = False
        self._previous = None
        if not jax.distributed.is_initialized():
            self._previous = signal.signal(signal.SIGTERM, self._ask)

    def reached(self, step: int) -> bool:
        """Whether to save and leave after `step`; every process must ask at every step."""
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    def close(self) -> None:
        """Gives the signal back to whoever had it."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    def _ask(self, signum, frame) -> None:
        self._asked = True
