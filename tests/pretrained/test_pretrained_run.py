"""Runs that begin with published weights: numerics, shares, restarts, and export."""

import json
import pathlib

import numpy as np
import pytest
from donors import donor
from etils import epath
from google_writer import GoogleModel
from small_run import small_config

from hybrid_jax.errors import UserError
from hybrid_jax.evaluate import evaluate
from hybrid_jax.exporting.export_run import export_run
from hybrid_jax.pretrained.load import leaves_by_path
from hybrid_jax.train.checkpoints.restore import restored_state
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.loop import train

# What `small_experiment.py` builds once it pools by the class token.
SMALL = GoogleModel(blocks=(1,), root=32, patch=1, mlp=64, heads=2, grid=(3, 3), classes=10)
RUN = {
    "model.vit_options.pool": "cls",
    "train.steps": 1,
    "log.progress": False,
    "checkpoint.every": 1,
}


@pytest.fixture
def weights(tmp_path):
    path, held = donor(tmp_path, SMALL)
    return str(path), held


def test_state_begins_with_the_file_in_every_copy_and_share(weights):
    path, held = weights
    changes = {
        "model.pretrained": path,
        "train.ema_decay": 0.9,
        "mesh.data": 1,
        "mesh.fsdp": 4,
        "mesh.tensor": 2,
    }
    experiment = prepare(small_config(RUN | changes))
    state = experiment.new_state()
    params = leaves_by_path(state.params)
    positions = "backbone/vit/position"
    for name, array in held.items():
        if name != positions:
            np.testing.assert_array_equal(params[name], array, err_msg=name)
    assert params[positions].shape == (4, 4, 32)
    for name, leaf in leaves_by_path(state.ema).items():
        np.testing.assert_array_equal(leaf, params[name], err_msg=name)
        assert leaf is not params[name]
    shardings = leaves_by_path(experiment.shardings.params)
    assert all(params[name].sharding == wanted for name, wanted in shardings.items())
    kernel = params["backbone/vit/blocks/0/mlp/fc1/kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(32, 32)}


def test_file_decides_how_the_model_rounds_unless_the_config_does(weights):
    path, _ = weights
    own = {"model.resnet_options.numerics": "timm", "model.vit_options.gelu": "erf"}
    adopted = prepare(small_config(RUN | own | {"model.pretrained": path})).config.model
    assert adopted.resnet_options.numerics == "vit_jax"
    assert adopted.vit_options.gelu == "tanh"
    assert adopted.vit_options.position_resize == "corner_linear"
    kept = {"model.pretrained": path, "model.pretrained_options.numerics": "config"}
    model = prepare(small_config(RUN | own | kept)).config.model
    assert (model.resnet_options.numerics, model.vit_options.gelu) == ("timm", "erf")


def test_file_decides_how_images_are_prepared_unless_the_config_does(weights):
    path, _ = weights
    own = {"model.normalization": "imagenet", "model.pretrained": path}
    assert prepare(small_config(RUN | own)).config.model.normalization == "half"
    kept = own | {"model.pretrained_options.preprocessing": "config"}
    assert prepare(small_config(RUN | kept)).config.model.normalization == "imagenet"


def test_units_are_cut_and_the_report_says_which(tmp_path):
    longer = GoogleModel(**{**vars(SMALL), "blocks": (2,), "depth": 3})
    path, _ = donor(tmp_path, longer)
    report = prepare(small_config(RUN | {"model.pretrained": str(path)})).weights_report
    dropped = {"/".join(row.path.split("/")[:5]) for row in report.where("dropped")}
    assert {p for p in dropped if "resnet" in p} == {"backbone/resnet/stages/0/blocks"}
    assert {p.split("/")[3] for p in dropped if "vit" in p} == {"2"}
    assert not report.where("new")


def test_damaged_file_ends_the_run_before_anything_is_saved(weights, tmp_path):
    path, _ = weights
    whole = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        train(small_config(RUN | {"model.pretrained": path}), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("one_device")
def test_run_goes_on_and_is_evaluated_and_exported_without_the_file(weights, tmp_path):
    path, _ = weights
    workdir = str(tmp_path / "run")
    changes = RUN | {"model.pretrained": path, "model.vit_options.gelu": "erf"}
    changes |= {
        "train.ema_decay": 0.5,
        "model.pretrained_options.preprocessing": "config",
        "model.normalization": "imagenet",
    }
    train(small_config(changes), workdir)
    before = (tmp_path / "run" / "config.json").read_text()
    assert json.loads(before)["model"]["vit_options"]["gelu"] == "tanh"
    pathlib.Path(path).unlink()
    scores = train(small_config(changes | {"train.steps": 2}), workdir)
    assert np.isfinite(scores["loss"])
    again = evaluate(small_config(changes | {"train.steps": 2}), workdir)
    assert again["validation"]["loss"] == pytest.approx(scores["loss"], rel=1e-6)
    config = (tmp_path / "run" / "config.json").read_text()
    last = small_config(changes | {"train.steps": 2, "eval.restore": "last"})
    written = export_run(last, workdir, format="safetensors")
    assert written == tmp_path / "run" / "export" / "model.safetensors"
    assert (tmp_path / "run" / "config.json").read_text() == config
    started = prepare(small_config(RUN | {"model.pretrained": str(written)})).new_state()
    trained = restored_state(epath.Path(workdir), prepare(last, continued=True))
    kernels = [
        np.asarray(leaves_by_path(tree)["head/logits/kernel"])
        for tree in (started.params, trained.ema, trained.params)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    card = json.loads((written.parent / "config.json").read_text())["pretrained_cfg"]
    assert card["mean"] == [0.485, 0.456, 0.406]
