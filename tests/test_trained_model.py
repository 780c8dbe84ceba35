"""`load_trained`: a workdir is enough, wherever and of whatever the run was made."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import nnx
from saved_run import TASKS, config_of, saved

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.normalization import BatchNorm
from hybrid_jax.pretrained.save import save_pretrained
from hybrid_jax.train.state import merge_model, split_model

pytestmark = pytest.mark.usefixtures("one_device")

IMAGES = jnp.linspace(-1, 1, 16 * 24 * 3).reshape(1, 16, 24, 3)


def rewrite(workdir, changes):
    """Changes what the run is said to have been made with, by dotted keys."""
    path = workdir / "config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        *branches, name = key.split(".")
        functools.reduce(dict.__getitem__, branches, config)[name] = value
    path.write_text(json.dumps(config))


def outputs(model, images):
    """Returns what a model says of images, in one program."""
    graph, params, mutable = split_model(model)
    step = jax.jit(lambda *state: merge_model(graph, *state)(images))
    return step(params, mutable)


def shapes_of(model, images):
    """Returns the shapes and dtypes of what a model says of images."""
    graph, *state = split_model(model)
    return jax.eval_shape(lambda *state: merge_model(graph, *state)(images), *state)


def assert_equal(model, params, mutable):
    _, found, rest = split_model(model)
    jax.tree.map(np.testing.assert_array_equal, found, params)
    jax.tree.map(np.testing.assert_array_equal, rest, mutable)


@pytest.mark.parametrize("task", TASKS)
def test_run_of_any_task_is_loaded_without_its_data_and_devices(tmp_path, task):
    experiment, state = saved(epath.Path(tmp_path), config_of(task))
    elsewhere = {"mesh.fsdp": 16, "train.batch_size": 7, "train.accumulate": 3}
    small = {"task.segmentation.canvas": [8, 8]}  # no image has to be held by it
    rewrite(tmp_path, {"data.name": "folder:/nowhere"} | elsewhere | small)
    loaded = hybrid_jax.load_trained(tmp_path, folded=False)
    assert_equal(loaded, state.params, state.mutable)
    images = jax.device_put(IMAGES, jax.devices()[0])  # of no use to arrays elsewhere
    trained = merge_model(experiment.graph, state.params, state.mutable)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, outputs(loaded, images), outputs(trained, images))


def test_best_or_last_and_the_average_of_its_parameters(tmp_path):
    config, path = config_of("classification", {"train.ema_decay": 0.9}), tmp_path
    states = [
        saved(epath.Path(path), config, step=step, seed=step, scores=dict(top1=score))[1]
        for step, score in ((3, 0.9), (5, 0.1))
    ]
    best = hybrid_jax.load_trained(path, folded=False)
    assert_equal(best, states[0].ema, states[0].mutable)
    last = hybrid_jax.load_trained(path, restore="last", folded=False)
    assert_equal(last, states[1].ema, states[1].mutable)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_model_is_folded_for_inference(tmp_path, norm):
    changes = {"model.resnet_options.norm": norm}
    saved(epath.Path(tmp_path), config_of("classification", changes))
    folded = hybrid_jax.load_trained(tmp_path)
    kept = [type(m) for _, m in nnx.iter_modules(folded)]
    assert BatchNorm not in kept
    assert {m.standardized for _, m in nnx.iter_modules(folded) if type(m) is Conv} == {
        None
    }
    with pytest.raises(UserError, match="folded for inference"):
        folded(IMAGES, train=True)
    with pytest.raises(UserError, match="export: expected a model that is not folded"):
        save_pretrained(folded, tmp_path / "model.npz")
    images = jax.device_put(IMAGES, jax.devices()[0])
    ours = outputs(folded, images).logits
    theirs = outputs(hybrid_jax.load_trained(tmp_path, folded=False), images).logits
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_dtype_may_be_another_than_the_run_s(tmp_path):
    saved(epath.Path(tmp_path), config_of("classification"))
    rewrite(tmp_path, {"model.dtype": "bfloat16"})
    backbones = [
        hybrid_jax.load_trained(tmp_path, dtype=dtype).backbone
        for dtype in (None, "float32")
    ]
    pooled = [shapes_of(backbone, IMAGES).pooled.dtype.name for backbone in backbones]
    assert pooled == ["bfloat16", "float32"]


def test_folder_without_a_run_holds_no_model(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no config.json"):
        hybrid_jax.load_trained(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{"])
def test_config_that_is_none_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json is not the JSON of a config"):
        hybrid_jax.load_trained(tmp_path)
