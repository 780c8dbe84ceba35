"""XLA options under which the tests compile: most of a test is compilation."""

import importlib.metadata
import os

# A program that runs twice gains nothing from optimization; a third of the time is saved.
_QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# The older way to fusions compiles in half the time. jaxlib 0.12 is without it (0.11 was
# not tried), and a flag that XLA does not know ends the process.
_OLD_FUSIONS = "--xla_cpu_use_fusion_emitters=false"


def xla_flags(*, devices: int) -> str:
    """Returns `XLA_FLAGS` for that many pretend devices and quick compilation."""
    given = os.environ.get("HJ_TEST_XLA_FLAGS", _quick())
    return f"--xla_force_host_platform_device_count={devices} {given}".strip()


def _quick() -> str:
    major, minor = importlib.metadata.version("jaxlib").split(".")[:2]
    return f"{_QUICK} {_OLD_FUSIONS}" if (int(major), int(minor)) < (0, 11) else _QUICK
