"""XLA options under which the tests compile: most of a test is compilation."""

import importlib.metadata
import os

# A program that runs twice gains nothing from optimization; a third of the time is saved.
_QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# A flag that XLA does not know ends the process. jaxlib 0.12 is without the first of
# these; later ones than 0.10 were not tried with the second.
# The older way to fusions compiles in half the time.
_OLD_FUSIONS = "--xla_cpu_use_fusion_emitters=false"
# A program as one module for LLVM, not 32 of them: a fifth of the time is saved. Several
# would be compiled by several threads, but each core has a worker of pytest already.
_ONE_MODULE = "--xla_cpu_parallel_codegen_split_count=1"


def xla_flags(*, devices: int) -> str:
    """Returns `XLA_FLAGS` for that many pretend devices and quick compilation."""
    given = os.environ.get("HJ_TEST_XLA_FLAGS", _quick())
    return f"--xla_force_host_platform_device_count={devices} {given}".strip()


def _quick() -> str:
    major, minor = importlib.metadata.version("jaxlib").split(".")[:2]
    known = (int(major), int(minor)) < (0, 11)
    return f"{_QUICK} {_OLD_FUSIONS} {_ONE_MODULE}" if known else _QUICK
