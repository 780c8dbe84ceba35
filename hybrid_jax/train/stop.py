"""Noticing that the machine is about to be taken away, or that the user has had enough."""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

_Handler = Callable[[int, FrameType | None], Any] | int | None  # as `signal` has it
_ANSWERED = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """True once SIGTERM has arrived at any process of the run, or Ctrl-C at the only one.

    With several processes all of them must leave at the same step; JAX's preemption
    service agrees on one. Alone, a signal handler is enough. A second Ctrl-C does what
    the first would have done without this.

    Attributes:
        signal: name of the signal that asked, "SIGTERM" unless it was Ctrl-C.
    """

    def __init__(self):
        self.signal = signal.SIGTERM.name
        self._asked = False
        self._previous: dict[signal.Signals, _Handler] = {}
        if not jax.distributed.is_initialized():
            for number in _ANSWERED:
                self._previous[number] = signal.signal(number, self._ask)

    def reached(self, step: int) -> bool:
        """Whether to save and leave after `step`; every process must ask at every step."""
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    def close(self) -> None:
        """Gives the signals back to whoever had them."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()

    def _ask(self, number, frame) -> None:
        self._asked = True
        self.signal = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
            # Not print: the signal may have come in the middle of one.
            sys.stderr.write("\nsaving after this step; Ctrl-C again leaves at once\n")
