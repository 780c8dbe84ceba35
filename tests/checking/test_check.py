"""What `--mode=check` says of data with known mistakes."""

import contextvars
import json

import numpy as np
import pytest
from checked_data import WRITERS
from data_examples import random_image, truncate, write_class_folders
from dense_examples import write_image, write_mask
from PIL import Image
from small_run import command, run

from hybrid_jax.checking.check import check
from hybrid_jax.config import changed, defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.formats.decoding import decode
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import UserError


def _config(name: str, task: str, **data):
    keys = {f"data.{key}": value for key, value in data.items()}
    return changed(defaults("tiny"), {"data.name": name, "task.name": task, **keys})


def _coco(root, *, train: list[list], val: list[list]) -> str:
    """Writes an image of 20x30 px and class 1 for each list of boxes (x, y, w, h)."""
    for split, every in (("train", train), ("val", val)):
        for i in range(len(every)):
            write_image(root / f"{split}/{split}{i}.png", seed=len(split) * 100 + i)
        annotations = [
            dict(image_id=i, category_id=1, bbox=box)
            for i, boxes in enumerate(every)
            for box in boxes
        ]
        content = dict(
            images=[dict(id=i, file_name=f"{split}{i}.png") for i in range(len(every))],
            annotations=[dict(id=n, **a) for n, a in enumerate(annotations)],
            categories=[dict(id=1, name="cat"), dict(id=2, name="dog")],
        )
        (root / f"{split}.json").write_text(json.dumps(content))
    return f"coco:{root}/{{split}},{root}/{{split}}.json"


def test_boxes_are_counted_by_class_size_and_cause(tmp_path, capsys):
    good, tiny = [2, 3, 8, 8], [1, 1, 18, 2]
    train = [[good, tiny, [2, 3, 0, 5]], [], [good, [2, 3, 90, 5]], [good, [9, 9, -2, 5]]]
    name = _coco(tmp_path, train=train, val=[[good]])
    options = dict(image_size=(8, 8), max_boxes=1, on_bad_annotation="skip")
    report = check(_config(name, "detection", **options), str(tmp_path / "run"))
    summary = report["splits"]["train"]
    assert summary["classes"] == {
        "cat": {"images": 3, "objects": 4},
        "dog": {"images": 0, "objects": 0},
    }
    assert summary["boxes_per_image"] == {"min": 0, "median": 1, "max": 2}
    assert summary["box_side_px"] == {"min": 6, "median": 8, "max": 8}
    assert summary["height_px"] == {"min": 20, "median": 20, "max": 20}
    assert summary["images_without_boxes"] == 1
    # 2 px of an image of 30 px that is scaled to 8.
    assert summary["boxes_under_a_pixel"] == 1
    assert summary["boxes_over_max_boxes"] == 1
    faults = {cause: fault["count"] for cause, fault in summary["faults"].items()}
    assert faults == {"area": 1, "outside": 1, "swapped": 1}
    assert "train2.png': the box of id 4" in summary["faults"]["outside"]["examples"][0]
    told = capsys.readouterr().out
    assert "train: 1 faulty (swapped)" in told
    assert "note: train: no image shows dog" in told
    assert "1 boxes are under a pixel once images fit 8x8 px" in told
    assert "(three numbers: min / median / max)" in told


def test_boxes_that_count_twice_are_said(tmp_path, capsys):
    box = [2, 3, 8, 8]
    name = _coco(tmp_path, train=[[box, box, [2, 3, 8, 9], box], [box]], val=[[box]])
    report = check(_config(name, "detection"), str(tmp_path / "run"))
    assert report["splits"]["train"]["repeated_boxes"] == 2
    assert "train: 2 boxes repeat another one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("train", "option", "message"),
    [
        ([[[2, 3, 8, 8], [2, 3, 0, 5]]], {}, "train: 1 annotations are faulty, and a run"),
        ([[]], {}, "train: no image shows any class"),
        (
            [[[0.1, 0.2, 0.5, 0.5]] * 9 + [[2, 3, 8, 8]]],
            dict(on_bad_annotation="skip"),
            r"train: 9 of 10 boxes are faulty \(9 relative\): the data means its numbers",
        ),
    ],
)
def test_boxes_that_cannot_be_trained_on_end_in_an_error(tmp_path, train, option, message):
    name = _coco(tmp_path, train=train, val=[[[2, 3, 8, 8]]])
    with pytest.raises(UserError, match=message):
        check(_config(name, "detection", **option), str(tmp_path / "run"))
    report = json.loads((tmp_path / "run/check.json").read_text())
    assert message.replace("\\", "") in report["problems"][0]
    assert (tmp_path / "run/check_validation.png").exists()


def test_images_that_cannot_be_read_are_named(tmp_path):
    write_class_folders(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    truncate(tmp_path / "train/b/001.png")
    config = _config(f"folder:{tmp_path}", "classification")
    with pytest.raises(UserError, match="train: 1 images cannot be read, and a run ends"):
        check(config, str(tmp_path / "run"))
    report = json.loads((tmp_path / "run/check.json").read_text())
    (text,) = report["splits"]["train"]["faults"]["image"]["examples"]
    assert "train/b/001.png" in text
    assert report["splits"]["train"]["readable"] == 5
    skip = changed(config, {"data.on_bad_image": "skip"})
    assert check(skip, str(tmp_path / "run"))["problems"] == []


class _Own:
    """Four images of two classes, of which the last two are not what they should be."""

    info = DatasetInfo(num_classes=2, class_names=("a", "b"))

    def __init__(self, location, *, split):
        self.labels = (0, 1, -1, 6)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        image = random_image(index)
        image = image[..., 0] if index == 3 else image
        return {"image": image, "label": self.labels[index]}


def test_labels_and_images_of_ones_own_source_are_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES._entries, "own", _Own)
    with pytest.raises(UserError, match="train: 1 images cannot be read") as error:
        check(_config("own", "classification"), str(tmp_path / "run"))
    assert "train: 1 annotations are faulty, and a run ends" in str(error.value)
    summary = json.loads((tmp_path / "run/check.json").read_text())["splits"]["train"]
    assert summary["readable"] == 2
    (label,) = summary["faults"]["annotation"]["examples"]
    (image,) = summary["faults"]["image"]["examples"]
    assert label.startswith("data 'own', train, example 2: label: expected an integer")
    assert image.startswith("data 'own', train, example 3: image: expected a numpy array")
    skip = dict(on_bad_image="skip", on_bad_annotation="skip")
    assert check(_config("own", "classification", **skip), str(tmp_path))["problems"] == []


def test_same_pixels_in_two_splits_and_under_two_labels(tmp_path, capsys):
    for seed, name in enumerate(("train/a/0", "train/a/1", "train/b/2", "val/a/3")):
        write_image(tmp_path / f"{name}.png", seed=seed)
    write_image(tmp_path / "train/b/same.bmp", seed=1)
    write_image(tmp_path / "val/b/same.tif", seed=0)
    write_image(tmp_path / "test/b/4.png", seed=4)
    config = _config(f"folder:{tmp_path}", "classification")
    report = check(config, str(tmp_path / "run"))
    assert report["splits"]["train"]["repeated_images"] == {
        "count": 1,
        "labeled_otherwise": 1,
        "examples": [["train/a/1.png", "train/b/same.bmp"]],
    }
    assert report["images_in_two_splits"] == [
        {
            "splits": ["train", "validation"],
            "count": 1,
            "examples": [["train/a/0.png", "val/b/same.tif"]],
        }
    ]
    told = capsys.readouterr().out
    assert "1 images of validation are in train too, e.g. train/a/0.png and val/b/s" in told
    assert "1 of them with other annotations" in told
    assert "note: test: no image shows a" in told


def test_masks_are_counted_in_pixels(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / f"img/{split}/0.png", seed=len(split))
        ids = np.zeros((20, 30), np.uint8)
        ids[:5], ids[5, :3] = 2, 255
        write_mask(tmp_path / f"mask/{split}/0.png", ids)
    (tmp_path / "mask/classes.txt").write_text("sky\nsea\nsand\n")
    name = f"seg:{tmp_path}/img,{tmp_path}/mask"
    report = check(_config(name, "segmentation"), str(tmp_path / "run"))
    assert report["splits"]["train"]["classes"] == {
        "sky": {"images": 1, "pixels": 447},
        "sea": {"images": 0, "pixels": 0},
        "sand": {"images": 1, "pixels": 150},
    }
    assert "train: no image shows sea" in report["remarks"]


def test_split_that_evaluation_needs_and_that_has_other_classes(tmp_path):
    write_class_folders(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/c": 2})
    config = _config(f"folder:{tmp_path}", "classification")
    with pytest.raises(UserError, match="no validation split: .* class 'c' of .* is not"):
        check(config, str(tmp_path / "run"))
    write_class_folders(tmp_path, {"dev/a": 1, "test/d": 1})
    (tmp_path / "val").rename(tmp_path / ".val")
    (note, *_) = check(config, str(tmp_path / "run"))["remarks"]
    assert note.startswith("no test split: data")
    assert "class 'd'" in note
    with pytest.raises(UserError, match="has no boxes"):
        check(_config(f"folder:{tmp_path}", "detection"), str(tmp_path / "run"))


def test_sheet_shows_boxes_where_they_are(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / f"{split}/{split}0.png")
    name = _coco(tmp_path, train=[[[3, 4, 12, 8]]], val=[[[3, 4, 12, 8]]])
    Image.new("RGB", (30, 20)).save(tmp_path / "train/train0.png")
    check(_config(name, "detection"), str(tmp_path / "run"), output=str(tmp_path / "out"))
    sheet = np.asarray(Image.open(tmp_path / "out/check_train.png")).astype(int)
    cell = sheet[8:][:, 8:]  # without the margin; 30 px became 400
    red = (cell[:260, :400] == (255, 0, 0)).all(-1)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    scale = 400 / 30
    assert abs(columns[0] - 3 * scale) < 2
    assert abs(columns[-1] - 15 * scale) < 2
    assert abs(rows[-1] - 12 * scale) < 2
    assert not (tmp_path / "run").exists()


def test_samples_may_be_as_large_as_the_data_may_have(tmp_path, monkeypatch):
    write_class_folders(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1})
    monkeypatch.setattr(decode, "_MAX_PIXELS", contextvars.ContextVar("low", default=9))
    config = _config(f"folder:{tmp_path}", "classification")
    assert check(config, str(tmp_path / "run"))["problems"] == []
    assert (tmp_path / "run/check_train.png").exists()


def test_place_of_the_report_is_made_before_all_is_read(tmp_path, capsys):
    write_class_folders(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1})
    config = _config(f"folder:{tmp_path}", "classification")
    with pytest.raises(UserError, match="000.png cannot be made"):
        check(config, str(tmp_path), output=str(tmp_path / "train/a/000.png"))
    assert not capsys.readouterr().out


def test_command_ends_with_1_for_data_that_cannot_train(tmp_path):
    name = WRITERS["classification", "folder"](tmp_path / "good")
    changes = {"data.name": name, "data.image_size": 16}
    done = run(command(tmp_path / "run", changes, "--mode=check"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "check.json and samples to look at" in done.stdout
    truncate(tmp_path / "good/train/a/000.png")
    failed = run(command(tmp_path / "run", changes, "--mode=check"))
    assert failed.returncode == 1
    assert failed.stderr.startswith(
        "error: the data cannot be trained on as it is:\n    tra"
    )
