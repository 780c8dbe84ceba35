"""`dataset.json`: the names of a run's classes, and data that has others by now."""

import dataclasses
import json
import re
import shutil

import pytest
from data_examples import write_class_folders
from etils import epath
from small_run import small_config
from toy_task import ONE_BLOCK

import hybrid_jax
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import UserError
from hybrid_jax.evaluate import evaluate
from hybrid_jax.exporting.export_run import export_run
from hybrid_jax.predicting.predict_run import predict_run
from hybrid_jax.train.checkpoints.dataset_record import (
    DatasetRecord,
    claim_dataset,
    read_record,
    record_of,
)
from hybrid_jax.train.checkpoints.recorded_source import RecordedSource
from hybrid_jax.train.loop import train

pytestmark = pytest.mark.usefixtures("one_device")

CLASSES = ("bat", "cat")


def write_data(folder, classes=CLASSES, *, images=8):
    """Writes a folder of images anew, `images` for training in each class."""
    shutil.rmtree(folder, ignore_errors=True)
    counts = {f"train/{name}": images for name in classes}
    write_class_folders(folder, counts | {f"validation/{name}": 2 for name in classes})


def config_of(folder, **changes):
    keys = {"data.name": f"folder:{folder}", "train.steps": 2, "log.progress": False}
    return small_config(ONE_BLOCK | keys | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir, folder of images) of a run of two steps."""
    root = tmp_path_factory.mktemp("trained")
    write_data(root / "images")
    train(config_of(root / "images"), str(root / "run"))
    return root / "run", root / "images"


@pytest.fixture
def run(trained, tmp_path):
    """The same, to be changed: a copy of the workdir and images written anew."""
    workdir, folder = trained
    shutil.copytree(workdir, tmp_path / "run")
    write_data(folder)
    return tmp_path / "run", folder


def one_image(folder):
    return [str(next(folder.rglob("*.png")))]


MODES = {
    "resume": lambda config, workdir, folder: train(config, workdir),
    "evaluate": lambda config, workdir, folder: evaluate(config, workdir),
    "predict": lambda config, workdir, folder: predict_run(
        config, workdir, inputs=one_image(folder)
    ),
    "export": lambda config, workdir, folder: export_run(config, workdir, format="npz"),
}


def test_file_says_what_the_run_is_trained_on(trained):
    workdir, _ = trained
    written = json.loads((workdir / "dataset.json").read_text())
    assert re.fullmatch("[0-9a-f]{16}", written.pop("fingerprint"))
    assert written == dict(
        task="classification",
        classes=dict(label=["bat", "cat"]),
        category_ids=[],
        train_examples=16,
        validation_examples=4,
        channel_order="RGB",
        share_digest="",
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("now", "difference"),
    [
        (("ant", "bat"), "class 0 is 'bat' and 'ant'"),  # cat has become ant: all move
        (("bat", "cow"), "class 1 is 'cat' and 'cow'"),
        (("bat", "cat", "dog"), "class 2 is none and 'dog'"),
        (("bat",), "class 1 is 'cat' and none"),
    ],
    ids=["moved", "renamed", "added", "removed"],
)
def test_data_with_other_classes_is_refused_with_both_lists(run, mode, now, difference):
    workdir, folder = run
    write_data(folder, now)
    before = (workdir / "dataset.json").read_bytes()
    config = config_of(folder, **{"train.steps": 3})
    with pytest.raises(UserError) as refused:
        MODES[mode](config, str(workdir), folder)
    told = str(refused.value)
    assert f"{workdir} was trained with other classes than folder:{folder} has now" in told
    assert "    then:  2 classes: 'bat', 'cat'\n" in told
    assert f"    now:   {len(now)} classes: {', '.join(map(repr, now))}\n" in told
    assert f"first difference: {difference}\n" in told
    assert (workdir / "dataset.json").read_bytes() == before
    assert not (workdir / "checkpoints/3").exists()


def test_predictions_have_the_names_of_the_run_without_its_data(run, capsys, tmp_path):
    workdir, folder = run
    config = config_of(folder)
    shutil.move(one_image(folder)[0], tmp_path / "photo.png")
    shutil.rmtree(folder)
    (answer,) = predict_run(config, str(workdir), inputs=[str(tmp_path / "photo.png")])
    assert {row["label"]: row["name"] for row in answer["labels"]} == {0: "bat", 1: "cat"}
    assert "note:" not in capsys.readouterr().out
    model = hybrid_jax.load_trained(workdir)
    assert model.head.logits.bias.shape == (2,)


def test_names_may_be_changed_by_hand_and_are_then_those_of_predictions(run):
    workdir, folder = run
    path = workdir / "dataset.json"
    facts = json.loads(path.read_text())
    facts["classes"]["label"] = ["bat", "lion"]
    path.write_text(json.dumps(facts))
    write_data(folder, ("bat", "lion"))
    with pytest.raises(UserError, match=r"dataset.json: expected names with the finger"):
        predict_run(config_of(folder), str(workdir), inputs=one_image(folder))
    del facts["fingerprint"]
    path.write_text(json.dumps(facts))
    (answer,) = predict_run(config_of(folder), str(workdir), inputs=one_image(folder))
    assert {row["name"] for row in answer["labels"]} == {"bat", "lion"}


def test_more_examples_are_told_and_recorded(run, capsys):
    workdir, _ = map(epath.Path, run)
    now = dataclasses.replace(read_record(workdir), train_examples=1444)
    claim_dataset(workdir, now, data="folder:images")
    note = "note: 1,444 training examples, there were 16: they come in another order"
    assert note in capsys.readouterr().out
    assert read_record(workdir) == now
    claim_dataset(workdir, now, data="folder:images")
    assert capsys.readouterr().out == ""


def test_another_share_of_the_examples_is_told(run, capsys):
    workdir, _ = map(epath.Path, run)
    # An older version has written nothing of which examples a share holds.
    file = workdir / "dataset.json"
    facts = json.loads(file.read_text())
    del facts["share_digest"]
    file.write_text(json.dumps(facts))
    now = dataclasses.replace(read_record(workdir), share_digest="0123456789abcdef")
    for record_now, said in ((now, True), (now, False)):
        claim_dataset(workdir, record_now, data="folder:images")
        note = "note: data.train_fraction takes other training examples"
        assert (note in capsys.readouterr().out) == said
    assert read_record(workdir) == now


@pytest.mark.parametrize("there", [True, False], ids=["data", "no_data"])
def test_older_run_has_the_classes_of_its_data_or_numbers(run, capsys, tmp_path, there):
    workdir, folder = run
    (workdir / "dataset.json").unlink()
    shutil.copy(one_image(folder)[0], tmp_path / "photo.png")
    if not there:
        shutil.rmtree(folder)
    config = config_of(folder)
    (answer,) = predict_run(config, str(workdir), inputs=[str(tmp_path / "photo.png")])
    told = capsys.readouterr().out
    why = "are taken to be those that the data has now" if there else "have numbers and no"
    assert told.startswith(f"note: {workdir} has no dataset.json; its classes {why}")
    assert told.count("note:") == 1
    names = CLASSES if there else ("0", "1")
    assert all(row["name"] == names[row["label"]] for row in answer["labels"])
    assert hybrid_jax.load_trained(workdir).head.logits.bias.shape == (2,)


def test_older_run_that_goes_on_gets_the_file(run, capsys):
    workdir, folder = run
    there = (workdir / "dataset.json").read_text()
    (workdir / "dataset.json").unlink()
    train(config_of(folder), str(workdir))
    assert "has no dataset.json; its classes are taken to be" in capsys.readouterr().out
    assert (workdir / "dataset.json").read_text() == there


DENSE = DatasetInfo(
    box_names=("ear", "eye"),
    box_category_ids=(3, 8),
    segmentation_names=("sky", "sea"),
    largest_hw=(30, 40),
)


def record(info=DENSE, *, validation=None, task="detection"):
    return record_of(
        RecordedSource(info, length=9),
        RecordedSource(validation or info, length=4),
        task=task,
    )


def test_record_comes_back_from_its_file(tmp_path):
    (tmp_path / "dataset.json").write_text(record().to_json())
    found = read_record(epath.Path(tmp_path))
    assert found == record()
    expected = dataclasses.replace(DENSE, segmentation_names=())
    assert found.info(largest_hw=(30, 40)) == expected


def test_only_what_the_task_reads_is_recorded():
    found = record(task="segmentation")
    assert found.classes == dict(segmentation=("sky", "sea"))
    assert found.category_ids == ()


def test_labels_without_names_have_numbers():
    assert record(DatasetInfo(num_classes=3), task="classification").classes == dict(
        label=("0", "1", "2")
    )


def test_fingerprint_is_of_the_names_and_their_order():
    def of(*names):
        return DatasetRecord("t", dict(label=names), (), 1, 1).fingerprint

    assert of("a", "b") == of("a", "b")
    assert len({of("a", "b"), of("b", "a"), of("a"), of("ab"), of("a", "b", "")}) == 5


def test_splits_with_different_classes_are_refused():
    other = dataclasses.replace(DENSE, box_names=("eye", "ear"))
    with pytest.raises(UserError, match=r"config.eval.split: expected the classes of") as e:
        record(validation=other)
    assert "    train: 2 classes: 'ear', 'eye'\n    eval:  2 classes: 'eye', 'ear'" in str(
        e.value
    )


def test_long_lists_are_cut_and_where_they_part_is_told(tmp_path):
    many = tuple(f"c{i}" for i in range(1000))
    old = DatasetInfo(num_classes=1000, class_names=many)
    new = dataclasses.replace(old, class_names=(*many[:700], "new", *many[701:]))
    with pytest.raises(UserError, match="'c49', and 950 more") as refused:
        record(old, task="classification").check_classes(
            new, workdir=epath.Path(tmp_path), data="d"
        )
    assert "first difference: class 700 is 'c700' and 'new'" in str(refused.value)
    assert "'c50'" not in str(refused.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"classes": 3, "category_ids": []}'])
def test_damaged_file_is_named(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=r"dataset.json is not the JSON that a run writes"):
        read_record(epath.Path(tmp_path))


def test_other_order_of_channels_is_refused(tmp_path):
    text = record().to_json().replace("RGB", "BGR")
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match="expected channel_order 'RGB'.*got 'BGR'"):
        read_record(epath.Path(tmp_path))
