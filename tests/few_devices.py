"""Runs on some of the eight pretend devices, where their number is not what is tested."""

import contextlib
from collections.abc import Iterator

import jax
import pytest

from hybrid_jax.train import resolve_config
from hybrid_jax.train.parallel.sharding import make_mesh


@contextlib.contextmanager
def runs_on(count: int) -> Iterator[None]:
    """Lays the mesh of every run over that many devices: one is a third quicker than eight.

    A file of tests says `pytestmark = pytest.mark.usefixtures("one_device")`. Each mode is
    tested on all devices too, somewhere.
    """

    def over_few(axes, *, devices=None):
        return make_mesh(axes, devices=devices or jax.devices()[:count])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve_config, "make_mesh", over_few)
        yield
