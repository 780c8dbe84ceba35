"""A program as an ONNX file, converted by jax2onnx and compared by onnxruntime."""

import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.errors import UserError
from hybrid_jax.exporting.program import Program
from hybrid_jax.ops.attention.dot_product import attention_kernel
from hybrid_jax.ops.platform import tracing_for

# Largest difference of an output, relative to its largest value.
_TOLERANCE = 1e-4
_OPSET = 20  # of 2023; files of the newest need the newest runtimes


def write_onnx(program: Program, file: pathlib.Path) -> str:
    """Writes a program of images of one size, and runs it to compare.

    It takes any number of images, or one where the converter needs the number.

    Args:
        program: a network; the input is called "images", outputs as in `meanings`.
        file: replaced if it is there.

    Returns:
        The shape of images that the file takes.

    Raises:
        UserError: the extra is missing, the converter has no operation for a part of the
            program, or the file's outputs are others.
    """
    to_onnx, onnxruntime = _libraries()
    H, W = program.image_hw
    try:
        rows = "B"
        try:
            _convert(to_onnx, program, file, rows=rows)
        except Exception:  # of many kinds; the second try says why
            rows = 1
            _convert(to_onnx, program, file, rows=rows)
        session = onnxruntime.InferenceSession(
            str(file), providers=["CPUExecutionProvider"]
        )
        worst = _worst_difference(program, session, rows=1 if rows == 1 else 2)
    except Exception as error:  # the runtime's too
        file.unlink(missing_ok=True)
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--format=onnx: this model cannot be converted ({reason}). docs/export.md "
            f"lists what can; --format=stablehlo has no such limits."
        ) from error
    if not worst <= _TOLERANCE:
        file.unlink()
        raise UserError(
            f"--format=onnx: expected outputs within {_TOLERANCE} of the model's, relative "
            f"to their largest, got {worst:.1e}; the file is not kept. Use "
            f"--format=stablehlo."
        )
    return f"({rows}, {H}, {W}, 3)"


def _convert(
    to_onnx: Callable[..., Any], program: Program, file: pathlib.Path, *, rows: str | int
) -> None:
    """Writes the file; weights are constants of it."""
    H, W = program.image_hw
    names = list(program.meanings)

    def network(images: jax.Array) -> tuple[jax.Array, ...]:
        outputs = program.function(program.weights, images)
        return tuple(outputs[name] for name in names)

    file.unlink(missing_ok=True)
    with tracing_for("cpu"), attention_kernel("xla"):
        to_onnx(
            network,
            [(rows, H, W, 3)],
            model_name="hybrid_jax",
            opset=_OPSET,
            return_mode="file",
            output_path=str(file),
            input_names=["images"],
            output_names=names,
        )


def _libraries() -> tuple[Any, Any]:
    try:
        # Optional packages, of the extra `onnx`.
        import onnxruntime  # pyright: ignore[reportMissingImports]

        # It logs a traceback for each plugin of a JAX that is not this one.
        logging.getLogger("jax2onnx").setLevel(logging.CRITICAL)
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"--format=onnx needs jax2onnx and onnxruntime ({error}): pip install -e "
            f"'.[onnx]'."
        ) from error
    return to_onnx, onnxruntime


def _worst_difference(program: Program, session: Any, *, rows: int) -> float:
    """Returns the largest difference of any output for random images."""
    names, shape = list(program.meanings), (rows, *program.image_hw, 3)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with tracing_for("cpu"), attention_kernel("xla"):
        ours = jax.jit(functools.partial(program.function, program.weights))(images)
    theirs = session.run(names, {"images": images})
    return max(
        float(jnp.max(jnp.abs(ours[name] - found)) / (jnp.max(jnp.abs(ours[name])) + 1e-6))
        for name, found in zip(names, theirs, strict=True)
    )
