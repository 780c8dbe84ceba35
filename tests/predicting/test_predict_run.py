"""`--mode=predict`: the right answer for the right image, whatever the files are called."""

import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath
from few_devices import runs_on
from PIL import Image
from saved_run import TASKS, config_of, saved
from small_run import command, run

from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.data.formats.decoding.decode import read_image, read_mask
from hybrid_jax.errors import UserError
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.predicting.predict_run import predict_run
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.recorded_source import (
    RecordedSource,
    classes_in_checkpoint,
    numbered,
)
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.state import merge_model

pytestmark = pytest.mark.usefixtures("one_device", "restored_once")

SIZES = [(20, 30), (50, 31), (33, 64), (16, 16), (300, 280), *[(24, 24)] * 6]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eleven images of many sizes, more than a batch, in a folder with one below it."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    random = np.random.default_rng(0)
    for number, hw in enumerate(SIZES):
        image = random.integers(0, 256, (*hw, 3), np.uint8)
        below = "more/" if number > 7 else ""
        Image.fromarray(image).save(folder / f"{below}{number:02d}.png")
    return folder


@pytest.fixture(scope="module", params=TASKS)
def run_of(request, tmp_path_factory, photos):
    """(task, experiment, state, folder of results, answers) of a model of each task."""
    path = epath.Path(tmp_path_factory.mktemp(request.param))
    config = config_of(request.param)
    # The classifier shows that rows of several devices are put together.
    with runs_on(2 if request.param == "classification" else 1):
        experiment, state = saved(path, config)
        answers = predict_run(config, str(path), inputs=[str(photos)])
    return request.param, experiment, state, path / "predictions", answers


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The workdir of a model of digits."""
    path = epath.Path(tmp_path_factory.mktemp("classifier"))
    saved(path, config_of("classification"))
    return str(path)


def by_hand(experiment, state):
    """Returns what predicts for one image file alone."""
    task, config = experiment.task, experiment.config

    @jax.jit
    def predicted(batch):
        model = merge_model(experiment.graph, state.params, state.mutable)
        inputs = normalize_image(batch["image"], policy=config.model.normalization)
        content = batch.get("content_yxyx_px")
        outputs = task.infer(model, inputs, content_yxyx_px=content)
        return {key: value[0] for key, value in task.predict(outputs, batch).items()}

    return lambda path: jax.device_get(predicted(batch_of(path, config, task)))


def batch_of(path, config, task):
    """Returns the batch of one image file, without annotations."""
    image = read_image(path)
    empty = dict(
        image=image,
        label=0,
        boxes_xyxy_px=np.zeros((0, 4), np.float32),
        box_labels=np.zeros(0, np.int32),
        segmentation=np.full(image.shape[:2], 255, np.uint8),
    )
    loader = ExampleLoader([empty], data=config.data, targets=task.targets)
    row = loader.evaluate(0)
    return {name: np.asarray(value)[None] for name, value in row.items()}


def test_each_image_gets_its_own_prediction(run_of, photos):
    task, experiment, state, folder, answers = run_of
    written = json.loads((folder / "predictions.json").read_text())
    assert written == dict(step=3, task=task, images=answers)
    paths = sorted(photos.rglob("*.png"))
    assert [answer["image"] for answer in answers] == [str(path) for path in paths]
    info, heard, alone = experiment.source.info, set(), by_hand(experiment, state)
    for number in (0, 2, 10):
        found, answer = alone(paths[number]), answers[number]
        heard.add(json.dumps(answer))
        if task == "classification":
            labels = [row["label"] for row in answer["labels"]]
            assert labels == found["top_labels"].tolist()
            names = [row["name"] for row in answer["labels"]]
            assert names == [info.class_names[label] for label in labels]
            likely = [row["probability"] for row in answer["labels"]]
            np.testing.assert_allclose(likely, found["top_probabilities"], atol=1e-5)
        elif task == "detection":
            assert len(answer["boxes"]) == found["valid"].sum() > 0
            boxes = [row["box_xyxy_px"] for row in answer["boxes"]]
            np.testing.assert_allclose(boxes, found["boxes_xyxy_px"], atol=1e-3)
            for row, label in zip(answer["boxes"], found["labels"], strict=True):
                assert row["name"] == info.box_names[label]
        else:
            height, width = SIZES[number]
            classes = read_mask(folder / answer["segmentation"])
            expected = found["segmentation"][:height, :width]
            assert classes.shape == (height, width)
            assert (classes != expected).mean() < 0.01  # ties, rounded otherwise
            for row in answer["classes"]:
                share = (classes == row["label"]).mean()
                assert row["share"] == pytest.approx(share)
                assert row["name"] == info.segmentation_names[row["label"]]
            assert sum(row["share"] for row in answer["classes"]) == pytest.approx(1.0)
    assert len(heard) == 3


def test_each_image_is_drawn_upon(run_of):
    task, *_, folder, answers = run_of
    assert [answer["drawn"] for answer in answers[7:9]] == ["07.png", "more/08.png"]
    for answer, (height, width) in zip(answers, SIZES, strict=True):
        drawn = read_image(folder / answer["drawn"])
        factor = max(1, -(-256 // max(height, width)))
        beside = task == "classification"  # bars; a legend is below
        assert (drawn.shape[1] > width * factor) == beside
        assert drawn.shape[0] >= height * factor
        original = read_image(answer["image"]).repeat(factor, 0).repeat(factor, 1)
        at_image = drawn[: height * factor, : width * factor]
        assert task == "detection" or (at_image == original).all() == beside


def test_probabilities_are_the_five_best_of_a_softmax(classifier, photos, tmp_path):
    config = config_of("classification")
    (answer,) = predict_run(
        config, classifier, inputs=[str(photos / "03.png")], output=str(tmp_path / "out")
    )
    likely = [row["probability"] for row in answer["labels"]]
    assert len(likely) == 5
    assert likely == sorted(likely, reverse=True)
    assert 0.3 < sum(likely) <= 1.0 + 1e-6


def test_files_of_one_name_do_not_overwrite_each_other(classifier, photos, tmp_path):
    (tmp_path / "a").mkdir()
    shutil.copy(photos / "00.png", tmp_path / "a" / "x.png")
    Image.open(photos / "01.png").save(tmp_path / "x.JPG")
    shutil.copy(photos / "02.png", tmp_path / "x.png")
    inputs = [str(tmp_path / name) for name in ("a/x.png", "x.JPG", "x.png")]
    config, out = config_of("classification"), tmp_path / "out"
    answers = predict_run(config, classifier, inputs=inputs, output=str(out))
    assert [answer["drawn"] for answer in answers] == ["x.png", "x_2.png", "x_3.png"]
    assert len(list(out.glob("*.png"))) == 3


def test_input_images_are_never_overwritten(classifier, photos, tmp_path):
    shutil.copy(photos / "00.png", tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    inputs, config = [str(tmp_path / "x.png")], config_of("classification")
    with pytest.raises(UserError, match="is one of the input images and would be overw"):
        predict_run(config, classifier, inputs=inputs, output=str(tmp_path))
    assert (tmp_path / "x.png").read_bytes() == before


def test_unreadable_image_is_named_after_all_others_are_done(
    classifier, photos, tmp_path, capsys
):
    whole = (photos / "01.png").read_bytes()
    shutil.copy(photos / "00.png", tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    shutil.copy(photos / "02.png", tmp_path / "c.png")
    config, out = config_of("classification"), tmp_path / "out"
    message = r"(?s)1 of 3 images could not be read; all others are done .*b\.png: "
    with pytest.raises(UserError, match=message):
        predict_run(config, classifier, inputs=[str(tmp_path)], output=str(out))
    images = json.loads((out / "predictions.json").read_text())["images"]
    assert [("labels" in image, "error" in image) for image in images] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert sorted(path.name for path in out.glob("*.png")) == ["a.png", "c.png"]
    printed = capsys.readouterr().out
    assert "step 3: 2 images, predictions in " in printed
    assert f"{tmp_path / 'c.png'}: {images[2]['labels'][0]['name']} " in printed


@pytest.mark.parametrize("task", TASKS)
def test_checkpoint_tells_for_how_many_classes_it_is(tmp_path, task):
    config = config_of(task)
    with config.unlocked():
        config.checkpoint.best_metric = ""
    path = epath.Path(tmp_path)
    source = RecordedSource(numbered(37, largest_hw=(64, 64)), length=1)
    experiment = prepare(config, source=source)
    checkpoints = Checkpoints(path, keep=1, best_metric="")
    nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), experiment.shapes)
    checkpoints.save(1, nothing)
    checkpoints.close()
    assert classes_in_checkpoint(path, config) == 37


def test_workdir_without_checkpoints_says_to_train_first(photos, tmp_path):
    config = config_of("classification")
    with pytest.raises(UserError, match="has no checkpoints. Train first"):
        predict_run(config, str(tmp_path / "never"), inputs=[str(photos)])
    with config.unlocked():
        config.data.name = "folder:/nowhere"
    with pytest.raises(UserError, match="has no checkpoints. Train first"):
        predict_run(config, str(tmp_path / "never"), inputs=[str(photos)])
    assert not (tmp_path / "never").exists()


def test_predict_from_the_command_line(classifier, photos, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    inputs = f"--input={photos / '00.png'},{tmp_path / 'bad.jpg'}"
    out = tmp_path / "out"
    flags = ("--mode=predict", inputs, f"--output={out}")
    changes = {"data.name": "digits", "model.vit_options.depth": 1}
    done = run(command(classifier, changes, *flags))
    assert done.returncode == 1
    assert f"step 3: 1 image, predictions in {out}" in done.stdout
    assert done.stderr.startswith("error: 1 of 2 images could not be read; all others")
    assert "bad.jpg: cannot identify image file" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in out.iterdir()} == {"00.png", "predictions.json"}
