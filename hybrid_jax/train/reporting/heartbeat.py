"""A sign of life from a run that is long silent: what it does, and for how long."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

from tqdm import tqdm

from hybrid_jax.train.parallel.distributed import is_main_process

_FIRST_S = (15, 30, 60)  # seconds after which a phase is told of; a fast one never is
_EVERY_S = 120  # and from then on

_Words = str | Callable[[], str]


class _Phase(NamedTuple):
    words: _Words
    since: float


def print_on_main(text: str) -> None:
    """Prints a line on the main process, at once."""
    if is_main_process():
        print(text, flush=True)


def print_above_bars(text: str) -> None:
    """Prints a line as `print_on_main` does, above a bar of tqdm if there is one."""
    with tqdm.external_write_mode(file=sys.stderr):
        print_on_main(text)


class Heartbeat:
    """Says "still compiling the training step: 30 s so far" as long as that takes.

    A phase is told of after 15, 30, 60 and 120 s and every 2 minutes from then on. As a
    context, a thread says it, which ends with the context. Once a phase has been replaced
    or ended nothing more is said of it.

    Args:
        say: prints a line.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        say: Callable[[str], None] = print_on_main,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._say, self._clock = say, clock
        self._phase: _Phase | None = None
        self._due = 0.0  # seconds of the phase after which it is told of next
        self._closed = False
        # Held while a line is said, so that none comes after its phase.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def say_by(self, say: Callable[[str], None]) -> None:
        """Says the lines in another way from now on."""
        with self._changed:
            self._say = say

    def doing(self, words: _Words | None) -> None:
        """Begins a phase, whose time counts from now.

        Args:
            words: "compiling the training step", or what returns such words; None for
                nothing that could take long.
        """
        self._set(None if words is None else _Phase(words, self._clock()))

    @contextlib.contextmanager
    def during(self, words: _Words) -> Iterator[None]:
        """Is a phase amid another one, which goes on after it."""
        before = self._phase
        self.doing(words)
        try:
            yield
        finally:
            self._set(before)

    def status(self) -> str:
        """Returns the phase and its time, "" for none; waits for no line being said."""
        phase = self._phase
        if phase is None:
            return ""
        words = phase.words if isinstance(phase.words, str) else phase.words()
        return f"{words}: {_in_words(self._clock() - phase.since)}"

    def beat(self) -> float | None:
        """Says what is due; returns the seconds until there is more, None for never."""
        with self._changed:
            if self._phase is None:
                return None
            seconds = self._clock() - self._phase.since
            if seconds >= self._due:
                self._due = _next(seconds)
                self._say(f"still {self.status()} so far")
            return self._due - seconds

    def _set(self, phase: _Phase | None) -> None:
        with self._changed:
            self._phase = phase
            self._due = 0.0 if phase is None else _next(self._clock() - phase.since)
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                try:
                    wait = self.beat()
                except (OSError, ValueError):
                    return  # whoever read the lines has left, which the run finds out
                self._changed.wait(wait)


def _next(seconds: float) -> float:
    """Returns when a phase that has taken so long is told of next."""
    every = (seconds // _EVERY_S + 1) * _EVERY_S
    return next((mark for mark in _FIRST_S if seconds < mark), every)


def _in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    words = [f"{minutes} min"] if minutes else []
    words += [f"{rest} s"] if rest or not minutes else []
    return " ".join(words)
