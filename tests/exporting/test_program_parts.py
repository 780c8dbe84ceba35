"""Programs: the last decoder layer's boxes, averaged parameters, three platforms."""

import types

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from saved_run import config_of

import hybrid_jax
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.exporting.export_run import _folded_model
from hybrid_jax.exporting.program import (
    PLATFORMS,
    Program,
    exported,
    meanings,
    named_outputs,
    whole_program,
)
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.outputs import BoxSet, SetDetectionOutputs


def test_boxes_are_those_of_the_last_decoder_layer():
    layers = [BoxSet(jnp.full((1, 2, 3), n), jnp.full((1, 2, 4), n)) for n in (1.0, 2.0)]
    outputs = SetDetectionOutputs(tuple(layers), proposals=layers[0])
    found = named_outputs(outputs)
    assert {name: float(array.max()) for name, array in found.items()} == dict(
        logits=2.0, boxes_cxcywh=2.0
    )
    assert "one sigmoid for each class" in meanings(outputs)["logits"]
    assert "softmax" in meanings(outputs.replace(has_no_object=True))["logits"]


def test_program_is_lowered_for_three_platforms_and_any_number_of_images():
    program = Program(
        function=lambda weights, images: dict(mean=images.mean((1, 2)) * weights["w"]),
        weights=dict(w=np.ones(3, np.float32)),
        image_hw=(4, 6),
        dtype="float32",
        name="network",
        meanings=dict(mean="(B, 3)"),
    )
    made = exported(program)
    assert made.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    assert [str(aval.shape) for aval in made.in_avals] == ["(3,)", "(b, 4, 6, 3)"]
    multiples = exported(program, sides="32")
    assert "32*h, 32*w" in str(multiples.in_avals[-1].shape)


def test_averaged_parameters_are_written():
    options = dict(resnet_options=dict(blocks=(1,), width=32), fusion="resnet")
    model = hybrid_jax.create_model("tiny", num_classes=3, image_size=32, **options)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    state = types.SimpleNamespace(
        params=jax.tree.map(jnp.zeros_like, params), eval_params=params, mutable=rest
    )
    folded = _folded_model(types.SimpleNamespace(graph=graph), state)
    assert folded.is_folded
    stem = jax.tree.leaves(nnx.state(folded.backbone.resnet.stem, nnx.Param))
    assert any(jnp.abs(leaf).max() > 0 for leaf in stem)


def test_whole_program_normalizes_as_the_run_does(monkeypatch):
    changes = {"model.normalization": "imagenet", "data.image_size": (32, 32)}
    config = config_of("classification", changes)
    policies = []

    def recorded(image, *, policy):
        policies.append(policy)
        return normalize_image(image, policy=policy)

    monkeypatch.setattr("hybrid_jax.exporting.program.normalize_image", recorded)
    options = dict(resnet_options=dict(blocks=(1,), width=32), fusion="resnet")
    model = hybrid_jax.create_model("tiny", num_classes=3, image_size=32, **options)
    info = DatasetInfo(num_classes=3, class_names=("a", "b", "c"))
    program = whole_program(model, config, info)
    images = jax.ShapeDtypeStruct((1, 40, 30, 3), "uint8")
    jax.eval_shape(program.function, program.weights, images)
    assert policies == ["imagenet"]
