"""ONNX files are compared before they are kept, against stubs of converter and runtime."""

import json
import sys
import types

import numpy as np
import pytest

from hybrid_jax.errors import UserError
from hybrid_jax.exporting.onnx_program import write_onnx
from hybrid_jax.exporting.program import Program


def program():
    return Program(
        function=lambda weights, images: dict(logits=images.mean((1, 2)) @ weights["w"]),
        weights=dict(w=np.eye(3, dtype=np.float32)),
        image_hw=(4, 6),
        dtype="float32",
        name="network",
        meanings=dict(logits="(B, 3)"),
    )


@pytest.fixture
def stubs(monkeypatch):
    """A converter that writes what it was given, and a runtime that is off by `error`."""
    state = types.SimpleNamespace(error=0.0, refuses=())

    def to_onnx(network, inputs, *, output_path, **options):
        if inputs[0][0] in state.refuses:
            raise NotImplementedError(f"no {inputs[0][0]}\nmore")
        with open(output_path, "w") as file:
            json.dump(dict(shape=inputs[0], names=options["output_names"]), file)

    class InferenceSession:
        def __init__(self, path, *, providers):
            pass

        def run(self, names, inputs):
            assert names == ["logits"]
            return [inputs["images"].mean((1, 2)) + state.error]

    modules = dict(
        jax2onnx=dict(to_onnx=to_onnx), onnxruntime=dict(InferenceSession=InferenceSession)
    )
    for name, members in modules.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return state


def test_file_takes_any_number_of_images_or_one(stubs, tmp_path):
    file = tmp_path / "model.onnx"
    assert write_onnx(program(), file) == "(B, 4, 6, 3)"
    assert json.loads(file.read_text()) == dict(shape=["B", 4, 6, 3], names=["logits"])
    stubs.refuses = ("B",)
    assert write_onnx(program(), file) == "(1, 4, 6, 3)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(refuses=("B", 1)), r"this model cannot be converted \(no 1\)"),
        (dict(error=0.01), "expected outputs within 0.0001 of the model's"),
        (dict(error=np.nan), "expected outputs within 0.0001 of the model's"),
    ],
)
def test_file_that_is_not_the_model_is_not_kept(stubs, tmp_path, change, message):
    vars(stubs).update(change)
    with pytest.raises(UserError, match=message):
        write_onnx(program(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[onnx\]'"):
        write_onnx(program(), tmp_path / "model.onnx")
