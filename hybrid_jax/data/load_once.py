"""A value that is loaded on first use and left behind when pickled."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LoadOnce(Generic[T]):
    """Holds what `load` returns, from the first `get` on, for all threads.

    Worker processes get `load` and not the value: arrays of a whole split would cost
    seconds to send, and the worker reads them from the same place.

    Args:
        load: called once without arguments; must be picklable.
    """

    def __init__(self, load: Callable[[], T]):
        self._load = load
        self._lock = threading.Lock()
        self._value: Any = None  # a T from the first `get` on
        self._loaded = False

    def get(self) -> T:
        """Returns the value, loading it if this is the first call."""
        if not self._loaded:
            with self._lock:
                if not self._loaded:
                    self._value = self._load()
                    self._loaded = True
        return self._value

    def __getstate__(self) -> dict[str, Any]:
        return {"load": self._load}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["load"])
