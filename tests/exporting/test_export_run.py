"""`--mode=export --format=stablehlo`: the folder says and computes what the run does."""

import ast
import json
import pathlib

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image
from saved_run import TASKS, config_of, saved

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import UserError
from hybrid_jax.exporting import load_model as loader
from hybrid_jax.exporting.export_run import export_run
from hybrid_jax.exporting.load_model import load_model
from hybrid_jax.exporting.model_card import facts_of, model_card, without_folders
from hybrid_jax.exporting.program import named_outputs
from hybrid_jax.predicting.predictor import Predictor
from hybrid_jax.trained_model import restored_model

FILES = {"model.stablehlo", "weights.npz", "model.json", "README.md", "load_model.py"}
REPORT = dict(
    split="validation",
    steps=3,
    scores=dict(top1=0.75, loss=0.5, count=177),
    best=dict(step=3, score=0.75),
)


def images_of(hw, *, count=3):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 6, 8, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(x).resize(hw[::-1])) for x in small])


# The network alone is slow but for masks, whose size is free. The whole program, which is
# run below for every task, contains it.
SLOW_BUT_MASKS = [
    pytest.param(task, marks=[] if task == "segmentation" else [pytest.mark.slow])
    for task in TASKS
]


@pytest.fixture(scope="module")
def run_of(request, tmp_path_factory):
    """(task, workdir, config, the trained model) of a run of each task."""
    workdir = tmp_path_factory.mktemp(request.param)
    changes = {
        "detection": {"model.resnet_options.norm": "batch"},
        "segmentation": {"data.image_size": (32, 64)},  # sides are multiples of 32
    }
    config = config_of(request.param, changes.get(request.param))
    saved(epath.Path(workdir), config)
    return request.param, workdir, config, restored_model(workdir)


@pytest.mark.parametrize("run_of", SLOW_BUT_MASKS, indirect=True)
def test_network_is_that_of_the_run(run_of):
    task, workdir, config, trained = run_of
    folder = export_run(config, str(workdir), format="stablehlo")
    assert folder == workdir / "export" / "stablehlo"
    assert {path.name for path in folder.iterdir()} == FILES
    run, facts = load_model(folder)
    assert facts["task"] == task
    shapes = dict(
        classification="(B, 16, 16, 3)",
        detection="(B, 32, 48, 3)",
        segmentation="(B, H, W, 3), H and W multiples of 32",
    )
    assert facts["input_shape"] == shapes[task]
    hw = (64, 32) if task == "segmentation" else tuple(facts["example_shape"][1:3])
    images = (images_of(hw) / 127.5 - 1.0).astype(np.float32)
    ours = jax.jit(lambda images: named_outputs(trained.model(images)))(images)
    theirs = run(images)
    assert set(theirs) == set(facts["outputs"]) == set(ours)
    for name, array in ours.items():
        largest = float(np.abs(array).max())
        np.testing.assert_allclose(theirs[name], array, atol=1e-5 * largest)
    with np.load(folder / "weights.npz") as weights:
        folded = [name for name in weights.files if name.endswith(("/mean", "/var"))]
        assert weights.files
    assert not folded  # BatchNorm's statistics are in the kernels
    card = (folder / "README.md").read_text()
    assert ", ".join(facts["class_names"]) in card
    assert "`report.json` yet" in card


@pytest.mark.parametrize("run_of", TASKS, indirect=True)
def test_whole_program_predicts_as_the_library_does(run_of, tmp_path):
    task, workdir, config, trained = run_of
    options = dict(format="stablehlo", program="whole", output=str(tmp_path / "out"))
    run, facts = load_model(export_run(config, str(workdir), **options))
    assert (facts["input_shape"], facts["input_dtype"]) == ("(B, H, W, 3)", "uint8")
    predictor = Predictor(trained.model, trained.config, trained.info)
    # The second needs no resizing where images keep their sides.
    for hw in ((40, 72), (32, 64)) if task == "segmentation" else ((40, 72),):
        images = images_of(hw, count=1)
        found, expected = run(images), predictor(images)
        for row, answer in enumerate(expected):
            if task == "classification":
                likely = found["probabilities"][row]
                for label in answer.labels:
                    assert likely[label.label] == pytest.approx(label.probability, abs=2e-3)
            elif task == "detection":
                boxes = found["boxes_xyxy_px"][row][found["valid"][row]]
                best = [box.box_xyxy_px for box in answer.boxes]
                assert len(boxes) == len(best)
                np.testing.assert_allclose(boxes[0], best[0], atol=0.5)
                scores = found["scores"][row][found["valid"][row]]
                best = [box.score for box in answer.boxes]
                np.testing.assert_allclose(scores, best, atol=2e-3)
            else:
                pixels = found["segmentation"][row]
                assert pixels.shape == hw
                assert (pixels != answer.segmentation).mean() < 0.02


def test_model_card_is_complete(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    names = ("ant", "bee", "wasp")
    facts = facts_of(
        config_of("classification", {"data.name": "folder:/home/ann/insects"}),
        epath.Path(tmp_path),
        info=DatasetInfo(num_classes=3, class_names=names),
        params=dict(a=np.zeros((40, 50)), b=np.zeros(7)),
        train_examples=1200,
        step=3,
    )
    told = dict(input_shape="(B, H, W, 3)", input_dtype="float32", program="network")
    card = model_card(told | dict(outputs=dict(logits="(B, 3)")), facts, format="onnx")
    assert card.startswith("---\nlicense: unknown")
    for part in (
        "pipeline_tag: image-classification",
        "| top1 | 0.7500 |",
        "checkpoint of step 3. Best: 0.7500 at step 3.",
        "`folder:insects`, 1,200 training images. 3 classes: ant, bee, wasp.",
        "fusion `sequential`",
        "2,007 parameters",
        'session.run(None, {"images": images})',
        "- `logits` (B, 3)",
    ):
        assert part in card, part
    (tmp_path / "report.json").unlink()


def test_loader_needs_only_jax():
    tree = ast.parse(pathlib.Path(loader.__file__).read_text())
    found = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert found == {"json", "pathlib", "collections", "typing", "jax", "numpy"}


def test_folders_of_the_data_are_not_told():
    assert without_folders("folder:/home/ann/birds") == "folder:birds"
    assert without_folders("coco:/a/images,/b/train.json") == "coco:images,train.json"
    assert without_folders("digits") == "digits"


def test_whole_program_is_refused_for_onnx(tmp_path):
    config = config_of("classification")
    with pytest.raises(UserError, match="expected 'network' for --format=onnx"):
        export_run(config, str(tmp_path), format="onnx", program="whole")
