"""Loads the program in this folder. It needs no hybrid_jax: pip install jax flatbuffers"""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export


def load_model(folder: str | pathlib.Path) -> tuple[Callable[[Any], dict], dict[str, Any]]:
    """Returns `run`, which maps images to a dict of arrays, and what `model.json` says."""
    folder = pathlib.Path(folder)
    program = export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    with np.load(folder / "weights.npz") as file:
        weights = {name: jax.numpy.asarray(file[name]) for name in file.files}
    facts = json.loads((folder / "model.json").read_text("utf-8"))
    call = jax.jit(program.call)
    return lambda images: call(weights, images), facts


if __name__ == "__main__":
    run, facts = load_model(pathlib.Path(__file__).parent)
    print(facts["task"], facts["class_names"])
    images = np.zeros(facts["example_shape"], facts["input_dtype"])
    for name, array in run(images).items():
        print(name, array.shape, array.dtype, facts["outputs"][name])
