"""Registries of fusions, heads, tasks, sources and dialects by name.

A registry belongs to one package and imports all of its modules on first use. To add an
entry, add a file to the package; no other change is needed.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from hybrid_jax.errors import UserError, nearest

T = TypeVar("T")


class Registry:
    """The entries of one kind, filled by the `register` decorator.

    Args:
        kind: kind of the entries, for messages: "fusion", "head", ...
        package: dotted name of the package whose modules register themselves.
    """

    def __init__(self, kind: str, *, package: str):
        self.kind = kind
        self.package = package
        self._entries: dict[str, Any] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that registers its target under `name`.

        A target of the same module and name replaces the earlier one: a notebook cell that
        runs again, or a config file that is read again, defines its class again.

        Raises:
            ValueError: the name is taken by another object.
        """

        def add(entry: T) -> T:
            taken = self._entries.get(name)
            if taken is not None and _where(taken) != _where(entry):
                raise ValueError(
                    f"{self.kind} {name!r} is registered twice: by {_where(taken)} "
                    f"and by {_where(entry)}. Rename one of them."
                )
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> Any:
        """Returns the entry called `name`.

        Raises:
            UserError: no such entry; the message lists all names.
        """
        self._discover()
        if name not in self._entries:
            raise UserError(
                f"unknown {self.kind} {name!r}.{nearest(name, self._entries)} "
                f"Known: {', '.join(self.names())}."
            )
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """Returns all names in alphabetical order."""
        self._discover()
        return tuple(sorted(self._entries))

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        self._discovered = True


def _where(entry: Any) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', entry)}"
