"""Options of XLA that a program of this library is compiled with."""

from hybrid_jax.ops.platform import platform


def compiler_options() -> dict[str, bool] | None:
    """Returns options for `jax.jit`, of the platform that is traced for; None for none.

    On GPUs, XLA gives every matrix product to Triton first, as one kernel with what comes
    before it. Where cuBLAS then proves faster, biases, GELUs and sums of residuals are left
    as passes over memory of their own. Without Triton, cuBLAS computes them in the product.
    """
    return {"xla_gpu_enable_triton_gemm": False} if platform() == "gpu" else None
