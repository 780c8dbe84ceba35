"""Data sets in the layout of Ultralytics' YOLO, as tools export them."""

import pickle

import numpy as np
import pytest
from dense_examples import write_image

from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, UserError

_YAML = "names: [cat, dog]\ntrain: images/train\nval: images/val\n"
_BOX = "0 0.5 0.5 0.2 0.4\n"


def _write(root, yaml: str | None, labels: dict[str, str | None]) -> str:
    """Writes `labels[image]` beside images of 20x30 px; returns `data.name`."""
    root.mkdir(exist_ok=True)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    for seed, (image, text) in enumerate(labels.items()):
        write_image(root / image, seed=seed)
        if text is not None:
            path = root / image.replace("images", "labels")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".txt").write_text(text)
    return f"yolo:{root}"


def _two(root, yaml: str = _YAML, text: str = _BOX) -> str:
    return _write(root, yaml, {"images/train/a.png": text, "images/val/b.png": _BOX})


def _ids(source) -> list[str]:
    return [source.annotations(i)["image_id"] for i in range(len(source))]


def test_boxes_are_shares_of_the_image(tmp_path):
    labels = {
        "images/train/a.png": "1 0.5 0.5 0.2 0.4\n\n0 0.1 0.25 0.2 0.5\n",
        "images/train/deep/b.png": None,
        "images/val/c.png": "",
    }
    name = _write(tmp_path, _YAML, labels)
    source = pickle.loads(pickle.dumps(open_source(name, split="train")))
    assert source.info.box_names == ("cat", "dog")
    first, empty = source[0], source.annotations(1)
    boxes = [[12, 6, 18, 14], [0, 0, 6, 10]]
    np.testing.assert_allclose(first["boxes_xyxy_px"], boxes, atol=1e-5)
    assert first["box_labels"].tolist() == [1, 0]
    assert first["box_lines"].tolist() == [1, 3]
    assert first["image"].shape == (20, 30, 3)
    assert first["where"].endswith("labels/train/a.txt")
    assert empty["boxes_xyxy_px"].shape == (0, 4)
    assert empty["original_hw"] == (20, 30)
    assert _ids(source) == ["images/train/a.png", "images/train/deep/b.png"]
    assert source.info.notes == ("1 images have no label file: they show no objects",)
    assert len(open_source(f"{name}/data.yaml", split="validation")) == 1


@pytest.mark.parametrize(
    ("yaml", "folders"),
    [
        ("path: .\n" + _YAML, "images/{}"),
        ("path: ../datasets/set  # as Ultralytics has it\n" + _YAML, "images/{}"),
        ("path: C:\\Users\\me\\set\n" + _YAML, "images/{}"),
        # As Roboflow exports it: `..` is one too many.
        (
            "names: [cat, dog]\nnc: 2\ntrain: ../train/images\nval: ../val/images",
            "{}/images",
        ),
        ("names: [cat, dog]\ntrain: /old/set/images/train\nval: images/val", "images/{}"),
        ("names:\n 0: cat\n 1: dog\ntrain: [images/train]\nvalid: images/val", "images/{}"),
    ],
)
def test_paths_are_found_as_tools_write_them(tmp_path, yaml, folders):
    images = {f"{folders.format(s)}/{s}.png": _BOX for s in ("train", "val")}
    name = _write(tmp_path / "set", yaml, images)
    for split, word in (("train", "train"), ("validation", "val")):
        source = open_source(name, split=split)
        assert _ids(source) == [f"{folders.format(word)}/{word}.png"]
        assert source.annotations(0)["box_labels"].tolist() == [0]


@pytest.mark.parametrize("start", ["", "./", "{root}/", "C:\\data\\"])
def test_splits_may_be_lists_of_paths(tmp_path, start):
    images = {f"images/{i}.png": _BOX for i in range(4)}
    name = _write(tmp_path, "names: [cat]\ntrain: t.txt\nval: v.txt\n", images)
    for file, numbers in (("t", (0, 1, 3)), ("v", (2,))):
        lines = [f"{start.format(root=tmp_path)}images/{i}.png" for i in numbers]
        (tmp_path / f"{file}.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert _ids(open_source(name, split="train")) == [f"images/{i}.png" for i in (0, 1, 3)]
    assert _ids(open_source(name, split="validation")) == ["images/2.png"]


def test_outlines_are_read_as_their_boxes_and_said(tmp_path):
    text = "0 0.1 0.2 0.5 0.1 0.3 0.6\n1 0.5 0.5 0.2 0.4\n1 0.5 0.5 0.2 0.4\n"
    source = open_source(_two(tmp_path, text=text), split="train")
    boxes = [[3, 2, 15, 12], [12, 6, 18, 14]]
    np.testing.assert_allclose(source[0]["boxes_xyxy_px"], boxes, atol=1e-5)
    assert source.info.notes == (
        "1 of 2 objects are outlines, read as their boxes",
        "1 lines of labels that repeat another are left out",
    )


def test_keypoints_behind_a_box_are_no_outline(tmp_path):
    name = _two(tmp_path, _YAML + "kpt_shape: [1, 2]\n", "1 0.5 0.5 0.2 0.4 0.9 0.9\n")
    source = open_source(name, split="train")
    np.testing.assert_allclose(source[0]["boxes_xyxy_px"], [[12, 6, 18, 14]], atol=1e-5)


def test_ids_may_have_gaps_and_names_may_be_words_of_yaml(tmp_path):
    yaml = _YAML.replace("[cat, dog]", "{0: no, 3: 'on', 7: Käfer}")
    source = open_source(
        _two(tmp_path, yaml, "3 .5 .5 .2 .2\n7 .5 .5 .1 .1\n"), split="train"
    )
    assert source.info.box_names == ("no", "on", "Käfer")
    assert source.info.box_category_ids == (0, 3, 7)
    assert source[0]["box_labels"].tolist() == [1, 2]
    assert "from 0 to 7 and leave out 5 (1, 2, 4, 5, 6)" in source.info.notes[0]


@pytest.mark.parametrize("text", ["2 .5 .5 .1 .1\n", "-1 .5 .5 .1 .1", "cat .5 .5 .1 .1"])
def test_class_without_a_name_is_refused_with_its_line(tmp_path, text):
    source = open_source(_two(tmp_path, text=_BOX + text), split="train")
    with pytest.raises(BadAnnotationError, match=r"train/a.txt:2: the class .* 0 to 1"):
        CheckedSource(source, skip=False)
    kept = CheckedSource(source, skip=True)[0]
    assert (kept["box_labels"].tolist(), kept["faulty"]) == ([0], 1)


@pytest.mark.parametrize("text", ["0 .5 .5 .1", "0 .5 .5 .1 .1 .9", "0 .5 .5 .1 x", "0"])
def test_line_of_another_form_is_named(tmp_path, text):
    source = open_source(_two(tmp_path, text=_BOX + text), split="train")
    with pytest.raises(BadAnnotationError, match=r"a.txt': the box of line 2.* not four"):
        CheckedSource(source, skip=False)[0]
    assert CheckedSource(source, skip=True)[0]["faulty"] == 1


def test_validation_is_held_out_of_training(tmp_path):
    images = {f"images/{i:02d}.png": _BOX for i in range(20)}
    name = _write(tmp_path, "names: [cat]\ntrain: images\nval:\ntest: null\n", images)
    (tmp_path / "images/x.heic").touch()
    train, val = (open_source(name, split=s) for s in ("train", "validation"))
    assert (len(train), len(val)) == (18, 2)
    assert len({*_ids(train), *_ids(val)}) == 20
    assert val.info.notes[0] == (
        "passed over 1 files that are no images (1 .heic), e.g. x.heic"
    )
    assert "2 of the 20 training images" in val.info.notes[1]
    with pytest.raises(UserError, match="unknown split 'test'"):
        open_source(name, split="test")


def test_folder_of_a_labeling_tool_without_yaml(tmp_path):
    name = _write(tmp_path, None, {f"images/{i:02d}.png": _BOX for i in range(20)})
    with pytest.raises(UserError, match="expected data.yaml, or classes.txt"):
        open_source(name, split="train")
    (tmp_path / "labels/classes.txt").write_text("cat\ndog\n")
    splits = [open_source(name, split=s) for s in ("train", "validation", "test")]
    assert [len(source) for source in splits] == [16, 2, 2]
    assert splits[0].info.box_names == ("cat", "dog")


def test_same_images_for_training_and_validation_are_said(tmp_path):
    yaml = "names: [cat]\ntrain: images\nval: images\n"
    notes = open_source(_write(tmp_path, yaml, {"images/a.png": _BOX}), split="train").info
    assert notes.notes == ("the train and the validation split are the same images",)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [cat\n", "cannot be parsed"),
        ("- a\n", "with the keys names"),
        ("train: images/train\n", "expected under names"),
        (_YAML + "nc: 3", "nc is 3, but there are 2 names"),
        (_YAML.replace("dog", "cat"), "'cat' stands twice"),
        (_YAML.replace("[cat, dog]", "{a: cat}"), "expected under names"),
        (_YAML.replace("[cat, dog]", "{0: cat, 0: dog}"), "line 1: '0' is there twice"),
        (_YAML.replace("[cat, dog]", "{0: cat, 00: dog}"), "each number once"),
        (_YAML.replace("[cat, dog]", "{0: cat, 1: }"), "as the name of class 1, got ''"),
        (_YAML.replace("dog", "{dog: big}"), "as the name of class 1, got"),
        (_YAML + "train: images/val", "line 1: 'train' is there twice"),
        (_YAML.replace("train:", "trian:"), "expected the key train"),
        (_YAML.replace("images/train", "images/none"), "there is no 'images/none' in"),
        (_YAML.replace("images/train", "{a: b}"), "a path or a list of paths"),
        (_YAML + "valid: images/val", "valid is the validation split, and so is another"),
        (_YAML + "training: images/val", "training is the train split, and so is another"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused(tmp_path, yaml, message):
    with pytest.raises(UserError, match=message) as error:
        open_source(_two(tmp_path, yaml), split="train")
    assert "\n" not in str(error.value)


def test_images_without_any_label_file_are_refused(tmp_path):
    images = {"images/train/a.png": None, "images/val/b.png": _BOX}
    with pytest.raises(UserError, match=r"not one of the 1 .* be .*labels/train/a.txt"):
        open_source(_write(tmp_path, _YAML, images), split="train")


def test_two_images_of_one_label_file_are_refused(tmp_path):
    name = _two(tmp_path)
    write_image(tmp_path / "images/train/a.jpg")
    with pytest.raises(UserError, match=r"a.jpg and .*a.png differ by their extension"):
        open_source(name, split="train")


def test_several_yaml_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="expected data.yaml in .*, found none"):
        open_source(f"yolo:{tmp_path}", split="train")
    for file in ("one.yaml", "two.yml"):
        (tmp_path / file).touch()
    with pytest.raises(UserError, match="found one.yaml, two.yml"):
        open_source(f"yolo:{tmp_path}", split="train")


def test_label_files_without_an_image_are_counted(tmp_path):
    name = _two(tmp_path)
    for folder in ("train", "val"):  # those of val are asked for with val
        for stem in ("gone", "classes"):
            (tmp_path / f"labels/{folder}/{stem}.txt").write_text(_BOX)
    (note,) = open_source(name, split="train").info.notes
    assert (
        note == f"1 label files belong to no image, e.g. {tmp_path}/labels/train/gone.txt"
    )


def test_label_file_of_another_split_belongs_to_its_image(tmp_path):
    name = _write(
        tmp_path,
        "names: [cat, dog]\ntrain: train.txt\nval: val.txt\n",
        {"images/a.png": _BOX, "images/b.png": _BOX},
    )
    (tmp_path / "train.txt").write_text("images/a.png\n")
    (tmp_path / "val.txt").write_text("images/b.png\n")
    assert open_source(name, split="train").info.notes == ()


def test_rows_of_the_same_numbers_are_one_and_of_two_classes_are_said(tmp_path):
    text = f"{_BOX}0 0.50 .5 0.2 0.4\n0.0 5e-1 0.5 0.2 0.4\n1 0.5 0.5 0.2 0.4\n"
    source = open_source(_two(tmp_path, text=text), split="train")
    assert source[0]["box_labels"].tolist() == [0, 1]
    assert source.info.notes == (
        "1 boxes lie exactly on another one, of another class or as an outline",
        "2 lines of labels that repeat another are left out",
    )
