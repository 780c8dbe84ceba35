"""What a run shows besides its results must not end it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from hybrid_jax.contracts import Scorer
from hybrid_jax.train.evaluation import Watcher


@contextlib.contextmanager
def spared(what: str, *, say: Callable[[str], None]) -> Iterator[None]:
    """Turns whatever fails inside into one line.

    Args:
        what: is made inside.
        say: prints a line.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a defect here is no reason to fail
        words = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"note: no {what} ({words}); the run and its results are complete")


class Spared:
    """A watcher of an evaluation whose failure is one line, and which then sees no more.

    Args:
        watcher: what watches.
        what: it is for.
        say: prints a line.
    """

    def __init__(self, watcher: Watcher, *, what: str, say: Callable[[str], None]):
        self._watcher = watcher
        self._what, self._say = what, say
        self.failed = False

    def add(
        self, predictions: Mapping[str, np.ndarray], index: Any, *, scorer: Scorer | None
    ) -> None:
        """Passes a batch on, if none has failed."""
        if self.failed:
            return
        self.failed = True
        with spared(self._what, say=self._say):
            self._watcher.add(predictions, index, scorer=scorer)
            self.failed = False
