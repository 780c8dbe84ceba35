"""The folder of an exported program: the program, its weights, and what explains them."""

import json
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
from jax import export

from hybrid_jax.errors import UserError
from hybrid_jax.exporting import load_model
from hybrid_jax.exporting.model_card import RunFacts, model_card
from hybrid_jax.exporting.onnx_program import write_onnx
from hybrid_jax.exporting.program import Program, exported
from hybrid_jax.models.hybrid import Hybrid

PROGRAM_FORMATS = ("stablehlo", "onnx")
_CELL_PX = 32  # a multiple of every stride that models usually have


def write_program(
    program: Program, folder: pathlib.Path, *, format: str, model: Hybrid, facts: RunFacts
) -> str:
    """Writes `model.<format>`, `model.json`, the model card and what loads them.

    For "stablehlo" these are `weights.npz` and `load_model.py`; an ONNX file holds its
    weights.

    Args:
        program: made of the model.
        folder: made if needed; files of these names are replaced.
        format: one of `PROGRAM_FORMATS`.
        model: for its strides.
        facts: of the run, for the model card.

    Returns:
        The shape of images that the program takes, as text.

    Raises:
        UserError: ONNX has no operation for a part of the model, or the extra is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if format == "onnx":
        shape = write_onnx(program, folder / "model.onnx")
    else:
        lowered, shape = any_size_if_possible(program, model)
        (folder / "model.stablehlo").write_bytes(_serialized(lowered))
        np.savez(folder / "weights.npz", **jax.device_get(program.weights))
        shutil.copyfile(load_model.__file__, folder / "load_model.py")
    told = _told(program, shape=shape, facts=facts)
    text = json.dumps(told, indent=2, ensure_ascii=False)
    (folder / "model.json").write_text(text + "\n", encoding="utf-8")
    card = model_card(told, facts, format=format)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return shape


def any_size_if_possible(program: Program, model: Hybrid) -> tuple[export.Exported, str]:
    """Returns a program that takes images of as many sizes as the model's code allows.

    Some models make tables from numbers of cells while they are traced, and so need sides
    that are numbers.

    Returns:
        The lowered program, and the shape that it takes.
    """
    if program.name == "whole":
        return exported(program, sides="any"), "(B, H, W, 3)"
    H, W = program.image_hw
    cell = max(_CELL_PX, *model.backbone.channels)
    if H % cell or W % cell:  # the model's own size has to be one of them
        return exported(program), f"(B, {H}, {W}, 3)"
    try:
        text = f"(B, H, W, 3), H and W multiples of {cell}"
        return exported(program, sides=str(cell)), text
    except Exception:  # of many kinds, wherever a number is needed
        return exported(program), f"(B, {H}, {W}, 3)"


def _serialized(lowered: export.Exported) -> bytes:
    try:
        return bytes(lowered.serialize())
    except ImportError as error:  # JAX does not require the package it writes them with
        raise UserError(
            f"--format=stablehlo needs flatbuffers ({error}): pip install -e '.[export]'."
        ) from error


def _told(program: Program, *, shape: str, facts: RunFacts) -> dict[str, Any]:
    """Returns the content of `model.json`."""
    return dict(
        task=facts.task,
        class_names=list(facts.class_names),
        program=program.name,
        input_shape=shape,
        input_dtype=program.dtype,
        example_shape=[1, *program.image_hw, 3],
        normalization=facts.normalization,
        mean=list(facts.mean),
        deviation=list(facts.deviation),
        outputs=program.meanings,
    )
