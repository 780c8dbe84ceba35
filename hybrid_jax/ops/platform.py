"""The kind of device that a program is traced for.

Some operations have different implementations for CPU, GPU and TPU. A program may be traced
on one machine for another, to be compiled ahead of time for a TPU slice or to be exported.
So the platform is a property of the program, not of the process.
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
    """Returns "cpu", "gpu" or "tpu": set by `tracing_for`, else JAX's default backend."""
    return _PLATFORM.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(name: str | None) -> Iterator[None]:
    """Context manager that sets `platform`; None does not change it.

    It affects functions that are traced inside the block. A function that `jax.jit` has
    traced before keeps its implementations.

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
