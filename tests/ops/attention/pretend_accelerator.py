"""Tracing tokamax's kernels on a CPU, as for an accelerator."""

import contextlib
import dataclasses
import functools

import pytest

from hybrid_jax.ops.attention import tokamax_kernels
from hybrid_jax.ops.platform import tracing_for


@dataclasses.dataclass(frozen=True)
class Device:
    """What tokamax and Pallas ask a device for."""

    platform: str
    device_kind: str
    compute_capability: str = ""
    core_count: int = 0


DEVICES = dict(
    ampere=Device("gpu", "NVIDIA A100", "8.0", 108),
    hopper=Device("gpu", "NVIDIA H100", "9.0", 132),
    v5e=Device("tpu", "TPU v5 lite"),
)


@contextlib.contextmanager
def tracing_on(name, *, interpreted=False):
    """Makes programs those of one of `DEVICES`; interpreted, they run on the CPU."""
    from jax._src.pallas.mosaic import tpu_info
    from jax.experimental import pallas
    from jax.extend import backend

    device = DEVICES[name]
    with pytest.MonkeyPatch.context() as patch, tracing_for(device.platform):
        patch.setattr(backend, "get_default_device", lambda: device)
        patch.setattr(tokamax_kernels, "has_device", device.platform.__eq__)
        patch.setattr(tpu_info, "get_device_kind", lambda: device.device_kind)
        patch.setattr(tpu_info, "get_num_device_cores", lambda: 1)
        if interpreted:
            patch.setattr(pallas, "pallas_call", _interpreted(pallas.pallas_call))
        yield


def _interpreted(pallas_call):
    @functools.wraps(pallas_call)
    def call(*args, **options):
        return pallas_call(*args, **(options | dict(interpret=True)))

    return call
