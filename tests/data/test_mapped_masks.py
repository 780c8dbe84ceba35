"""`data.ignore_label`, `data.label_map` and masks of 0 and 255, on files."""

import numpy as np
import pytest
from data_examples import data_config
from dense_examples import write_image, write_mask

from hybrid_jax.data.formats.classes import mask_classes
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import BadAnnotationError, UserError


def _write(root, *ids: tuple[int, ...], split="train") -> str:
    """Writes masks of which each holds stripes of its ids; returns `data.name`."""
    for number, of_one in enumerate(ids):
        write_image(root / f"img/{split}/{number:03}.png")
        mask = np.resize(np.uint8(of_one), (20, 30))
        write_mask(root / f"mask/{split}/{number:03}.png", mask)
    return f"seg:{root}/img,{root}/mask"


def _ids(source, index=0) -> list[int]:
    masks = [source[index], source.annotations(index)]
    found = [np.unique(example["segmentation"]).tolist() for example in masks]
    assert found[0] == found[1]
    return found[0]


def _open(name, *, split="train", **changes):
    return open_split(data_config(name=name, **changes), split=split)


def test_ignored_ids_are_void_and_no_classes(tmp_path):
    name = _write(tmp_path, (0, 1, 2, 11, 255))
    source = _open(name, ignore_label=(11,))
    assert source.info.segmentation_names == ("0", "1", "2")
    assert _ids(source) == [0, 1, 2, 255]
    assert source[0]["faulty"] == 0


def test_ids_are_mapped_to_ids_and_names(tmp_path):
    name = _write(tmp_path, (0, 7, 34, 255))
    source = _open(name, label_map="7:1, 34:2,255:0")
    assert source.info.segmentation_names == ("0", "1", "2")
    assert _ids(source) == [0, 1, 2]
    (tmp_path / "classes.txt").write_text("sky\nsea\nred sand\n")
    source = _open(name, label_map="7:red sand,34:255,255:sea")
    assert source.info.segmentation_names == ("sky", "sea", "red sand")
    assert _ids(source) == [0, 1, 2, 255]


def test_what_is_mapped_and_ignored_is_void(tmp_path):
    source = _open(_write(tmp_path, (0, 1, 3)), label_map="3:1", ignore_label=(3,))
    assert _ids(source) == [0, 1, 255]


def test_zero_is_reduced_after_mapping(tmp_path):
    name = _write(tmp_path, (0, 1, 9))
    source = _open(name, label_map="9:2", reduce_zero_label=True)
    assert source.info.segmentation_names == ("1", "2")
    assert _ids(source) == [0, 1, 255]


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ("34", "expected 'ID:ID,...' .* got '34' in '34'"),
        ("a:1", "expected 'ID:ID,...' .* got 'a:1'"),
        ("1:", "expected 'ID:ID,...'"),
        ("1:256", "ids from 0 to 255, got '1:256'"),
        ("1:2,1:3", "got 1 twice"),
        ("1:sees", "'sees' is no class of the data. Did you mean 'sea'"),
    ],
)
def test_map_of_another_form_is_refused(tmp_path, label_map, message):
    name = _write(tmp_path, (0, 1))
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    with pytest.raises(UserError, match=f"config.data.label_map: .*{message}"):
        _open(name, label_map=label_map)


@pytest.mark.parametrize("change", [dict(ignore_label=(1,)), dict(label_map="1:0")])
def test_data_without_masks_has_no_ids_to_map(change):
    with pytest.raises(UserError, match=f"{next(iter(change))}: .* has no masks"):
        _open("digits", **change)


@pytest.mark.parametrize("listed", [False, True])
def test_black_and_white_masks_are_two_classes(tmp_path, listed):
    name = _write(tmp_path, (0, 255), (0,), (255,))
    _write(tmp_path, (0, 255), (255,), split="val")
    if listed:
        (tmp_path / "classes.txt").write_text("ground\ncell\n")
    names = ("ground", "cell") if listed else ("0", "1")
    for split in ("train", "validation"):
        source = _open(name, split=split)
        assert source.info.segmentation_names == names
        assert _ids(source) == [0, 1]
        assert any("255 is the class 1" in note for note in source.info.notes)


@pytest.mark.parametrize("ids", [(0, 1, 255), (0, 1)])
def test_void_stays_void_where_there_are_classes(tmp_path, ids):
    source = _open(_write(tmp_path, ids))
    assert source.info.segmentation_names == ("0", "1")
    assert _ids(source) == list(ids)


def test_class_of_one_mask_among_many_is_found(tmp_path):
    masks = [(0, 1)] * 402
    masks[1], masks[-1] = (0, 1, 2), (0, 1, 3)  # every second one is not enough either
    name = _write(tmp_path, *masks)
    source = _open(name)
    assert source.info.segmentation_names == ("0", "1", "2", "3")
    assert not any("no mask of training" in note for note in source.info.notes)
    assert _ids(source, 1) == [0, 1, 2]


def test_ids_of_many_masks_are_read_once_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("HJ_MASK_IDS", str(tmp_path / "kept"))
    monkeypatch.setattr(mask_classes, "_FEW_MASKS", 2)
    name = _write(tmp_path, (0, 1), (0,), (0,))
    assert len(_open(name).info.segmentation_names) == 2
    with monkeypatch.context() as patch:
        patch.setattr(mask_classes, "read_mask", None)
        assert len(_open(name).info.segmentation_names) == 2
    next((tmp_path / "kept").iterdir()).write_text("damaged")
    assert len(_open(name).info.segmentation_names) == 2
    write_mask(tmp_path / "mask/train/002.png", np.full((20, 30), 4, np.uint8))
    assert len(_open(name).info.segmentation_names) == 5


def test_unknown_id_says_what_to_do(tmp_path):
    name = _write(tmp_path, (0, 1))
    _write(tmp_path, (0, 5), split="val")
    with pytest.raises(BadAnnotationError, match=r"classes.txt.*config.data.ignore_label"):
        _ = _open(name, split="validation")[0]


@pytest.mark.parametrize(
    "changes", [dict(ignore_label=(255,)), dict(label_map="0:1,255:0")]
)
def test_255_of_black_and_white_masks_is_called_1(tmp_path, changes):
    name = _write(tmp_path, (0, 255))
    with pytest.raises(UserError, match="Name 1 in place of 255"):
        _open(name, **changes)
    assert _ids(_open(name, label_map="0:1,1:0")) == [0, 1]
