"""XLA options under which the tests compile: most of a test is compilation."""

import os

# A program that runs twice gains nothing from optimisation; a third of the time is saved.
QUICK_XLA = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def xla_flags(*, devices: int) -> str:
    """Returns `XLA_FLAGS` for that many pretend devices and quick compilation."""
    given = os.environ.get("HJ_TEST_XLA_FLAGS", QUICK_XLA)
    return f"--xla_force_host_platform_device_count={devices} {given}".strip()
