"""The kind of device that a program is traced for.

Some operations have one form for each kind. Programs are also traced on one machine for
another: to be compiled ahead of time for a TPU slice, or to be exported. The kind is thus
a property of the program, not of the process that traces it.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

PLATFORMS = ("cpu", "gpu", "tpu")

_PLATFORM: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "platform", default=None
)


def platform() -> str:
    """Returns "cpu", "gpu" or "tpu": what `tracing_for` says, else this process's own."""
    return _PLATFORM.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(name: str | None) -> Iterator[None]:
    """Makes `platform` return `name` inside the block; None leaves it as it is.

    The block must hold the call of a function under trace, not that of a function that
    `jax.jit` has traced before: a finished trace keeps the forms it was made with.

    Raises:
        ValueError: not one of `PLATFORMS`.
    """
    if name is None:
        yield
        return
    if name not in PLATFORMS:
        raise ValueError(f"tracing_for: expected one of {PLATFORMS}, got {name!r}.")
    token = _PLATFORM.set(name)
    try:
        yield
    finally:
        _PLATFORM.reset(token)
