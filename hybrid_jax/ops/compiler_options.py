"""Options of XLA that a program of this library is compiled with."""

import functools
import os
import pathlib
import platform as machine

import jax

from hybrid_jax.ops.platform import platform

# On CPUs, XLA gives products, sums and convolutions to YNNPACK. On two cores of Intel's,
# its convolutions are slower than XLA's own, up to four times in the gradient of the kernel
# (docs/cpu.md). Processors of other makers were not measured.
_BY_YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
_INTEL: dict[str, bool | str] = {
    _BY_YNNPACK: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}

_LINUX_FACTS = pathlib.Path("/proc/cpuinfo")

# On GPUs, XLA gives every matrix product to Triton first, as one kernel with what comes
# before it. Where cuBLAS then proves faster, biases, GELUs and sums of residuals are left
# as passes over memory of their own. Without Triton, cuBLAS computes them in the product.
_GPU: dict[str, bool | str] = {"xla_gpu_enable_triton_gemm": False}

# On TPUs, XLA takes a product whose result or operand is divided over devices apart, into
# a loop that sends one part while it computes the next. The parts of our gradients are too
# small for that: by the compiler's own estimate, steps take 19 to 30 % less without loops
# (docs/partitioning.md). The number is the size in MiB from which it builds them.
_TPU: dict[str, bool | str] = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}


def compiler_options() -> dict[str, bool | str] | None:
    """Returns options for `jax.jit`, of the platform that is traced for; None for none.

    What `XLA_FLAGS` say of YNNPACK is left as it is.
    """
    if platform() == "cpu":
        said = _BY_YNNPACK in os.environ.get("XLA_FLAGS", "")
        return _INTEL if made_by_intel() and not said and _known_to_xla() else None
    return {"gpu": _GPU, "tpu": _TPU}.get(platform())


def cpu_options() -> dict[str, bool | str] | None:
    """Returns `compiler_options` where JAX has CPUs alone, else None.

    For programs of models that may lie on another device than JAX's default one.
    """
    return compiler_options() if jax.default_backend() == "cpu" else None


@functools.cache
def _known_to_xla() -> bool:
    """Returns whether this jaxlib has the experimental option."""
    try:
        jax.jit(lambda: 0, compiler_options=_INTEL).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@functools.cache
def made_by_intel() -> bool:
    """Returns whether Intel made the processor of this machine."""
    try:
        facts = _LINUX_FACTS.read_text("utf-8", errors="replace")
    except OSError:  # not Linux
        facts = machine.processor()
    return "GenuineIntel" in facts
