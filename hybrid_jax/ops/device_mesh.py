"""The devices that a program is traced for, where a kernel has to know them.

The compiler divides its own operations between devices. A kernel of another language it
cannot divide: such a call is mapped over the devices by hand.
"""

import contextlib
import contextvars
from collections.abc import Iterator

from jax.sharding import Mesh

_MESH: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar("mesh", default=None)


def device_mesh() -> Mesh | None:
    """Returns what `tracing_over` says; None is one device, or unknown."""
    return _MESH.get()


@contextlib.contextmanager
def tracing_over(mesh: Mesh) -> Iterator[None]:
    """Makes `device_mesh` return `mesh` inside the block, which holds a traced call."""
    token = _MESH.set(mesh)
    try:
        yield
    finally:
        _MESH.reset(token)
