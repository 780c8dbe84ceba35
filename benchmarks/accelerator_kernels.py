"""What a device spends a step on, from JAX's profiler."""

import collections
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

_STEPS = 3
_SHOWN = 60
_NAMED = 100  # characters of the name of a kernel

# Kind of kernel -> words in its name; the first that fits.
_KINDS = {
    "attention": ("fmha", "flash", "sdpa", "attention"),
    "convolution": ("conv", "fprop", "dgrad", "wgrad", "implicit"),
    "product": ("gemm", "cutlass", "nvjet", "cublas", "dot", "matmul", "sm90_xmma"),
    "scatter": ("scatter",),
    "reduction": ("reduce",),
    "transposition": ("transpose", "nchwtonhwc", "nhwctonchw"),
    "copy": ("memcpy", "copy", "memset"),
    "fusion": ("fusion", "loop", "input_"),
}


def top_kernels(call: Callable[[], Any]) -> dict[str, Any]:
    """Profiles a few calls.

    Returns:
        `device_ms`, the device's time of one call; `by_kind`, percent of it; `kernels`,
        the longest as (percent, milliseconds of one call, name).
    """
    spent = _spent(call)
    total = sum(spent.values()) or 1
    kinds: collections.Counter[str] = collections.Counter()
    for name, ns in spent.items():
        kinds[_kind_of(name)] += ns
    return dict(
        device_ms=round(total / 1e6 / _STEPS, 2),
        by_kind={kind: round(100 * ns / total, 1) for kind, ns in kinds.most_common()},
        kernels=[
            (round(100 * ns / total, 1), round(ns / 1e6 / _STEPS, 3), name)
            for name, ns in spent.most_common(_SHOWN)
        ],
    )


def _spent(call) -> collections.Counter[str]:
    """Returns the nanoseconds of each operation on the device, over all steps."""
    spent: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(_STEPS):
                last = call()
            jax.block_until_ready(last)
        for path in Path(folder).rglob("*.xplane.pb"):
            for line in _device_lines(jax.profiler.ProfileData.from_file(str(path))):
                for event in line.events:
                    spent[_name_of(event)] += event.duration_ns
    return spent


def _name_of(event) -> str:
    """Returns the kernel's name, and the operation of the program that it computes."""
    name = event.name[:_NAMED]
    operation = next((value for key, value in event.stats if key == "hlo_op"), name)
    return name if operation == name else f"{name} [{operation}]"


def _device_lines(profile):
    for plane in profile.planes:
        if "GPU" in plane.name or "TPU" in plane.name:
            for line in plane.lines:
                if "Stream" in line.name or "XLA Ops" in line.name:
                    yield line


def _kind_of(name: str) -> str:
    lower = name.lower()
    for kind, words in _KINDS.items():
        if any(word in lower for word in words):
            return kind
    return "other"
