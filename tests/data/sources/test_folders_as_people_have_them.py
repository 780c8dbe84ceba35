"""Names of splits, what is held out, and folders that are one level off."""

import json
import unicodedata

import numpy as np
import pytest
from data_examples import write_class_folders
from dense_examples import write_image, write_mask

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError


def _ids(source) -> list[str]:
    return [str(source[i]["image_id"]) for i in range(len(source))]


@pytest.mark.parametrize(
    "names", [("Training", "Val", "Test"), ("TRAIN", "dev", "testing")]
)
def test_splits_may_be_called_as_usual_in_any_case(tmp_path, names):
    write_class_folders(tmp_path, {f"{n}/{c}": 2 for n in names for c in ("ant", "bee")})
    for split, name in zip(("train", "validation", "test"), names, strict=True):
        source = open_source(f"folder:{tmp_path}", split=split)
        assert source.info.class_names == ("ant", "bee")
        assert {i.split("/")[0] for i in _ids(source)} == {name}


def test_validation_is_held_out_of_training_and_test_untouched(tmp_path):
    write_class_folders(tmp_path, {"train/a": 20, "train/b": 10, "test/a": 3, "test/b": 3})
    splits = ("train", "validation", "test")
    train, val, test = (open_source(f"folder:{tmp_path}", split=s) for s in splits)
    assert [len(source) for source in (train, val, test)] == [27, 3, 6]
    assert sorted(val[i]["label"] for i in range(3)) == [0, 0, 1]
    assert not set(_ids(train)) & set(_ids(val))
    assert all(i.startswith("test/") for i in _ids(test))
    for source in (train, val):
        assert "3 of the 30 training images are held out" in source.info.notes[0]
    assert test.info.notes == ()


def test_coco_voc_and_masks_hold_out_as_folders_do(tmp_path):
    images = []
    for i in range(20):
        write_image(tmp_path / f"img/train/{i}.png")
        write_image(tmp_path / f"JPEGImages/{i}.png")
        write_mask(tmp_path / f"mask/train/{i}.png", np.eye(20, 30, dtype=np.uint8))
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        (tmp_path / f"Annotations/{i}.xml").write_text("<annotation/>")
        images.append(dict(id=i, file_name=f"{i}.png"))
    content = dict(images=images, annotations=[], categories=[dict(id=1, name="x")])
    (tmp_path / "train.json").write_text(json.dumps(content))
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    lines = "".join(f"{i}\n" for i in range(20))
    (tmp_path / "ImageSets/Main/train.txt").write_text(lines)
    for name in (
        f"coco:{tmp_path}/img/{{split}},{tmp_path}/{{split}}.json",
        f"seg:{tmp_path}/img,{tmp_path}/mask",
        f"voc:{tmp_path}",
    ):
        train, val = (open_source(name, split=s) for s in ("train", "validation"))
        assert (len(train), len(val)) == (18, 2), name
        assert sorted(_ids(train) + _ids(val)) == sorted(map(str, range(20)))
        assert "2 of the 20 training images" in val.info.notes[0]
        with pytest.raises(UserError, match="test"):
            open_source(name, split="test")


def test_classes_of_two_images_each_are_shared_out_together(tmp_path):
    write_class_folders(tmp_path / "flat", {f"c{i}": 2 for i in range(20)})
    splits = ("train", "validation", "test")
    whole = [open_source(f"folder:{tmp_path}/flat", split=s) for s in splits]
    assert [len(source) for source in whole] == [32, 4, 4]
    assert len({i for source in whole for i in _ids(source)}) == 40
    write_class_folders(tmp_path, {f"by/train/c{i}": 2 for i in range(20)})
    train, val = (open_source(f"folder:{tmp_path}/by", split=s) for s in splits[:2])
    assert (len(train), len(val)) == (36, 4)
    assert "4 of the 40 training images" in train.info.notes[0]


def test_train_may_be_a_class(tmp_path):
    write_class_folders(tmp_path, {"bus": 3, "car": 3, "train": 3})
    source = open_source(f"folder:{tmp_path}", split="train")
    assert source.info.class_names == ("bus", "car", "train")


@pytest.mark.parametrize("inner", ["train", "hen"])
def test_one_level_too_high_is_said(tmp_path, inner):
    write_class_folders(tmp_path, {f"birds/{inner}/a": 3, "birds/val/a": 3})
    with pytest.raises(UserError, match=f"write folder:{tmp_path}/birds"):
        open_source(f"folder:{tmp_path}", split="train")


def test_splits_without_one_for_training_are_refused(tmp_path):
    write_class_folders(tmp_path, {"val/a": 3, "Test/a": 3})
    with pytest.raises(UserError, match="Test, val .* look like splits"):
        open_source(f"folder:{tmp_path}", split="train")


def test_odd_folders_that_may_be_meant_are_said(tmp_path):
    write_class_folders(tmp_path / "one", {"a": 9})
    write_class_folders(tmp_path / "deep", {"a/x": 3, "a/y": 3, "b": 6})
    (tmp_path / "one/a/b.heic").touch()
    (tmp_path / "deep/a/._photo.png").touch()  # hidden, so it is no image
    one, deep = (
        open_source(f"folder:{tmp_path}/{n}", split="train").info.notes
        for n in ("one", "deep")
    )
    assert "there is one class only, 'a'" in one[0]
    assert "passed over 1 files that are no images (1 .heic), e.g. a/b.heic" in one[-1]
    assert "1 of 2 class folders hold nothing but folders, such as a/x" in deep[0]


def test_images_in_no_class_folder_are_counted(tmp_path):
    write_class_folders(tmp_path / "flat", {".": 3, "a": 9, "b": 9})
    (tmp_path / "flat/readme.txt").touch()
    (tmp_path / "flat/._0.png").touch()
    source = open_source(f"folder:{tmp_path}/flat", split="train")
    expected = f"left out 3 images directly in {tmp_path}/flat, in no folder of a class"
    assert f"{expected}, e.g. 000.png" in source.info.notes
    folders = ("train", "train/a", "train/b", "test", "test/a", "more/a")
    write_class_folders(tmp_path / "by", dict.fromkeys(folders, 1))
    for split, others in (("train", ["train"]), ("test", ["train", "test"])):
        notes = open_source(f"folder:{tmp_path}/by", split=split).info.notes
        assert [note for note in notes if note.startswith("left out")] == [
            f"left out 1 folder beside the splits in {tmp_path}/by: more",
            *(
                f"left out 1 image directly in {tmp_path}/by/{other}, in no folder of a "
                f"class, e.g. 000.png"
                for other in others
            ),
        ]


def test_images_without_any_class_folder_are_said_where_they_should_be(tmp_path):
    write_class_folders(tmp_path, {"x": 2, "y": 1, "empty/z": 1})
    (tmp_path / "empty/z").rename(tmp_path / "z")
    for folder, found in (("x", " but 2 images"), ("y", " but 1 image"), ("empty", "")):
        with pytest.raises(UserError, match=rf"found none{found}\. Put the images of each"):
            open_source(f"folder:{tmp_path}/{folder}", split="train")


def test_hidden_folders_hold_no_images_of_a_class(tmp_path):
    write_class_folders(tmp_path, {"a": 10, "a/.ipynb_checkpoints": 5, "__MACOSX/a": 2})
    sources = [open_source(f"folder:{tmp_path}", split=s) for s in ("train", "test")]
    assert [source.info.class_names for source in sources] == [("a",)] * 2
    assert not any(".ipynb" in i for source in sources for i in _ids(source))


def test_spellings_of_a_letter_are_one_class(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write_class_folders(tmp_path, {f"train/{nfc}": 2, "train/b": 2, f"val/{nfd}": 2})
    source = open_source(f"folder:{tmp_path}", split="validation")
    assert source.info.class_names == ("b", nfc)
    assert source[0]["label"] == 1
    write_class_folders(tmp_path, {f"train/{nfd}": 2})
    with pytest.raises(UserError, match="holds two folders 'café'"):
        open_source(f"folder:{tmp_path}", split="train")
