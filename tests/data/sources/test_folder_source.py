import numpy as np
import pytest
from data_examples import truncate, write_class_folders
from PIL import Image

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadImageError, UserError


def _ids(source) -> list[str]:
    return [source[i]["image_id"] for i in range(len(source))]


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev", "Val"])
def test_split_folders_are_read(tmp_path, validation):
    write_class_folders(
        tmp_path,
        {"train/cat": 3, "train/dog": 2, f"{validation}/dog": 1, "test/cat": 1},
    )
    train = open_source(f"folder:{tmp_path}", split="train")
    assert train.info.class_names == ("cat", "dog")
    assert train.info.num_classes == 2
    assert [train[i]["label"] for i in range(5)] == [0, 0, 0, 1, 1]
    assert train[4]["image"][0, 0].tolist() == [20, 1, 254]
    held_out = open_source(f"folder:{tmp_path}", split="validation")
    assert _ids(held_out) == [f"{validation}/dog/000.png"]
    assert held_out[0]["label"] == 1
    assert held_out.info == train.info


def test_class_folders_are_split_by_tenths(tmp_path):
    write_class_folders(tmp_path, {"cat": 40, "dog": 20, "eel": 3})
    splits = ("train", "validation", "test")
    sources = [open_source(f"folder:{tmp_path}", split=s) for s in splits]
    labels = [np.bincount([s[i]["label"] for i in range(len(s))]) for s in sources]
    assert [counts.tolist() for counts in labels] == [[32, 16, 1], [4, 2, 1], [4, 2, 1]]
    ids = [_ids(source) for source in sources]
    assert len(set(sum(ids, []))) == 63
    again = open_source(f"folder:{tmp_path}", split="test")
    assert _ids(again) == ids[2]


def test_split_by_hash_is_fixed_for_ever(tmp_path):
    write_class_folders(tmp_path, {"cat": 20})
    test = open_source(f"folder:{tmp_path}", split="test")
    assert _ids(test) == ["cat/000.png", "cat/018.png"]


def test_all_extensions_and_deeper_folders_are_found(tmp_path):
    (tmp_path / "train/cat/deeper").mkdir(parents=True)
    picture = Image.new("RGB", (4, 3))
    for name in ("a.JPG", "b.jpeg", "c.png", "d.webp", "deeper/e.bmp", ".hidden.png"):
        picture.save(tmp_path / "train/cat" / name)
    (tmp_path / "train/cat/notes.txt").touch()
    write_class_folders(tmp_path, {"val/cat": 1})
    source = open_source(f"folder:{tmp_path}", split="train")
    names = [i.removeprefix("train/cat/") for i in _ids(source)]
    assert names == ["a.JPG", "b.jpeg", "c.png", "d.webp", "deeper/e.bmp"]


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path):
    write_class_folders(tmp_path, {"train/cat": 2})
    truncate(tmp_path / "train/cat/001.png")
    source = open_source(f"folder:{tmp_path}", split="train")
    assert source[0]["image"].shape == (12, 16, 3)
    with pytest.raises(BadImageError, match="train/cat/001.png"):
        source[1]


def test_missing_folder_is_named(tmp_path):
    layouts = r"train/CLASS/\*.jpg or CLASS/\*.jpg: check the path after folder:"
    with pytest.raises(UserError, match=f"there is no folder .*/nowhere. .*{layouts}"):
        open_source(f"folder:{tmp_path}/nowhere", split="train")


@pytest.mark.parametrize("layout", ["", "train/"])
def test_empty_class_folder_is_named(tmp_path, layout):
    write_class_folders(tmp_path, {f"{layout}cat": 3, f"{layout}dog": 0})
    with pytest.raises(UserError, match=f"{layout}dog has no images .*Fill it or remove"):
        open_source(f"folder:{tmp_path}", split="train")


def test_folder_without_classes_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="one folder per class in .*/train, found none"):
        open_source(f"folder:{tmp_path}", split="train")


def test_unknown_class_of_another_split_is_named(tmp_path):
    write_class_folders(tmp_path, {"train/cat": 3, "train/dog": 1, "test/cats": 1})
    with pytest.raises(UserError, match="'cats' of .*/test .* Did you mean 'cat'?"):
        open_source(f"folder:{tmp_path}", split="test")


def test_unknown_split_lists_those_there_are(tmp_path):
    write_class_folders(tmp_path, {"train/cat": 3, "val/cat": 1})
    with pytest.raises(UserError, match="'test'.*It has: train, validation"):
        open_source(f"folder:{tmp_path}", split="test")


def test_two_folders_for_one_split_are_refused(tmp_path):
    write_class_folders(tmp_path, {"train/cat": 3, "val/cat": 1, "valid/cat": 1})
    with pytest.raises(UserError, match="/val and .*/valid both are the validation"):
        open_source(f"folder:{tmp_path}", split="train")


def test_split_without_images_is_refused(tmp_path):
    write_class_folders(tmp_path, {"cat": 2})
    with pytest.raises(UserError, match="split 'test' has no images"):
        open_source(f"folder:{tmp_path}", split="test")
