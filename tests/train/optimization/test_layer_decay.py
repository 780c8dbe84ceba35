"""The layer of every parameter, against chains written down by hand."""

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from small_run import small_config
from train_examples import (
    host_batch,
    new_state,
    on_host,
    put,
    small_experiment,
    train_step,
)

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.train.optimization.layer_decay import height_of, layer_of
from hybrid_jax.train.optimization.optimizer import branch_of, make_optimizer
from hybrid_jax.train.state import path_name, split_model

VIT = [
    ["vit/embed", "vit/position", "vit/cls", "vit/cls_position", "vit/registers"],
    ["vit/blocks/0"],
    ["vit/blocks/1"],
    ["vit/blocks/2"],
    ["vit/blocks/3"],
]
RESNET = [
    ["resnet/stem"],
    ["resnet/stages/0"],
    ["resnet/stages/1"],
    ["resnet/stages/2"],
]

# From the images upwards; the top itself, which is layer 0, is left out.
CHAINS = {
    "sequential": [[*RESNET[:3], *VIT]],
    "conv_stem": [[*RESNET[:1], *VIT]],
    "stage_swap": [[*RESNET[:3], *VIT]],
    "fpn_tokens": [[*RESNET, *VIT]],
    "rtdetr_encoder": [[*RESNET, *VIT[:2]]],
    "vit": [VIT],
    "simple_fpn": [VIT],
    "resnet": [RESNET],
    "botnet": [RESNET],
    "mobile_former": [RESNET, VIT[1:]],
    "conformer": [RESNET, VIT],
    "late_concat": [RESNET, VIT],
    "vit_adapter": [RESNET, VIT],
}
FUSION_OPTIONS = dict(
    sequential=dict(stride=8),
    conv_stem=dict(patch_size=2),
    stage_swap=dict(pattern="CCT"),
    rtdetr_encoder=dict(channels=64),
)
OPTIONS = {
    "model.resnet_options.blocks": (2, 1, 1),
    "model.vit_options.depth": 4,
    "model.vit_options.patch_size": 8,
    "model.vit_options.pool": "cls",
    "model.vit_options.num_register_tokens": 2,
    "model.dtype": "float32",
}


def params_of(fusion, changes=None):
    """Returns the shapes of a model's parameters as a nested dict."""
    config = small_config(OPTIONS | {"model.fusion": fusion} | (changes or {}))
    config.model.fusion_options = ConfigDict(FUSION_OPTIONS)

    def build():
        model = build_model(
            config.model,
            num_classes=7,
            image_size=(64, 64),
            rngs=nnx.Rngs(params=0),
        )
        return split_model(model)[1]

    return jax.eval_shape(build)


def shapes_of(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {path_name(path): leaf.shape for path, leaf in leaves}


def by_hand(path, chains):
    """Returns the distance from the top of the chain that a path stands in, or 0."""
    inside = path.removeprefix("backbone/")
    for chain in chains:
        for below_top, beginnings in enumerate(reversed(chain), start=1):
            if any(inside == b or inside.startswith(f"{b}/") for b in beginnings):
                return below_top
    return 0


@pytest.mark.parametrize("fusion", CHAINS)
def test_layer_is_the_place_in_the_chain(fusion):
    shapes = shapes_of(params_of(fusion))
    height = height_of(shapes)
    layers = {path: layer_of(path, height) for path in shapes}
    assert layers == {path: by_hand(path, CHAINS[fusion]) for path in shapes}
    # Every place of the chains is taken, and something stands on top.
    longest = max(len(chain) for chain in CHAINS[fusion])
    assert set(layers.values()) == set(range(longest + 1))


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_head_and_what_a_fusion_adds_are_the_top(fusion):
    shapes = shapes_of(params_of(fusion))
    height = height_of(shapes)
    for path in shapes:
        if branch_of(path) in ("head", "fusion"):
            assert layer_of(path, height) == 0, path
        else:
            assert layer_of(path, height) <= height.blocks + height.stages + 2, path


def test_learned_pooling_is_the_top():
    shapes = shapes_of(params_of("vit", {"model.vit_options.pool": "attention"}))
    pooling = [path for path in shapes if "probe_pool" in path]
    assert pooling
    assert {layer_of(path, height_of(shapes)) for path in pooling} == {0}


@pytest.mark.parametrize("fusion", ["sequential", "vit", "resnet", "late_concat"])
def test_rate_of_every_parameter_falls_with_its_layer(fusion):
    options = small_config(
        {
            "optimizer.name": "sgd",
            "optimizer.momentum": 0.0,
            "optimizer.learning_rate": 0.3,
            "optimizer.schedule": "constant",
            "optimizer.warmup_fraction": 0.0,
            "optimizer.weight_decay": 0.0,
            "optimizer.clip_norm": 0.0,
            "optimizer.layer_decay": 0.75,
            "optimizer.branch.vit": 0.5,
        }
    ).optimizer
    params = jax.tree.map(lambda s: np.ones(s.shape, np.float32), params_of(fusion))
    optimizer = make_optimizer(options, steps=10)

    @jax.jit
    def updates_of(params):
        return optimizer.update(params, optimizer.init(params), params)[0]

    updates = updates_of(params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        name = path_name(path)
        layer = by_hand(name, CHAINS[fusion])
        branch = 0.5 if name.startswith("backbone/vit/") else 1.0
        np.testing.assert_allclose(update, -0.3 * branch * 0.75**layer, rtol=1e-6)


@pytest.mark.slow  # the optimizer alone moves every parameter by its layer above
def test_one_step_moves_low_layers_less():
    plain = {
        "model.vit_options.depth": 2,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.0,
        "optimizer.learning_rate": 1.0,
        "optimizer.weight_decay": 0.0,
        "optimizer.clip_norm": 0.0,
    }
    moves = []
    for decay in (1.0, 0.5):
        changes = plain | {"optimizer.layer_decay": decay}
        experiment = small_experiment(changes, mesh="single")
        state = new_state(experiment, lively=True)
        before = on_host(state.params)
        state, _ = train_step(experiment)(state, put(experiment, host_batch()))
        moves.append(jax.tree.map(np.subtract, on_host(state.params), before))
    # One stage and two blocks: the small model of `small_experiment.py`.
    layers = {
        "backbone/resnet/stem": 5,
        "backbone/resnet/stages/0": 4,
        "backbone/vit/embed": 3,
        "backbone/vit/position": 3,
        "backbone/vit/blocks/0": 2,
        "backbone/vit/blocks/1": 1,
        "backbone/vit/norm": 0,
        "head": 0,
    }
    moved = set()
    whole, decayed = (jax.tree_util.tree_leaves_with_path(move) for move in moves)
    for (path, full), (_, part) in zip(whole, decayed, strict=True):
        [layer] = [n for at, n in layers.items() if path_name(path).startswith(at)]
        # The moves are differences of parameters near 1, each rounded to float32.
        np.testing.assert_allclose(part, full * 0.5**layer, atol=3e-7)
        if np.abs(full).max() > 1e-4:
            moved.add(layer)
    assert moved == set(layers.values())
