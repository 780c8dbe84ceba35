"""COCO's files against pycocotools, and everything that can be wrong with them."""

import json
import pickle
import re

import numpy as np
import pytest
from data_examples import data_config, random_image, truncate
from dense_examples import coco_content, write_coco, write_image
from PIL import Image
from pycocotools.coco import COCO

from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


@pytest.fixture
def split_location(tmp_path):
    """All three images as the train split."""
    location = write_coco(tmp_path)
    (tmp_path / "all.json").rename(tmp_path / "train.json")
    return location.replace("all", "{split}")


def _open(tmp_path, **changes):
    """Opens the train split of the usual content with top-level keys replaced."""
    location = write_coco(tmp_path, coco_content() | changes)
    (tmp_path / "all.json").rename(tmp_path / "train.json")
    return open_source(f"coco:{location.replace('all', '{split}')}", split="train")


def test_examples_are_what_pycocotools_reads(split_location, tmp_path):
    source = open_source(f"coco:{split_location}", split="train")
    coco = COCO(tmp_path / "train.json")
    assert len(source) == 3
    ids = source.info.box_category_ids
    assert list(ids) == sorted(coco.getCatIds())
    names = [coco.loadCats(i)[0]["name"] for i in ids]
    assert list(source.info.box_names) == names
    assert source.info.largest_hw == (20, 30)
    seen = []
    for index in range(3):
        read = source[index]
        seen.append(read["image_id"])
        expected = coco.loadAnns(coco.getAnnIds(imgIds=[read["image_id"]]))
        corners = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in expected)]
        assert read["boxes_xyxy_px"].tolist() == corners
        assert [ids[k] for k in read["box_labels"]] == [a["category_id"] for a in expected]
        assert read["box_crowd"].tolist() == [a["iscrowd"] for a in expected]
        assert read["box_ids"].tolist() == [a["id"] for a in expected]
        areas = [a.get("area", a["bbox"][2] * a["bbox"][3]) for a in expected]
        assert read["box_areas_px"].tolist() == areas
        file_name = coco.loadImgs([read["image_id"]])[0]["file_name"]
        assert file_name in read["where"]
        with Image.open(tmp_path / "images" / file_name) as image:
            np.testing.assert_array_equal(read["image"], np.array(image))
    assert sorted(seen) == [3, 7, 9]


def test_empty_image_has_arrays_of_no_rows(split_location):
    empty = open_source(f"coco:{split_location}", split="train")[2]
    assert empty["boxes_xyxy_px"].shape == (0, 4)
    types = {k: v.dtype.name for k, v in empty.items() if k.startswith("box")}
    assert types == {
        "boxes_xyxy_px": "float32",
        "box_labels": "int32",
        "box_crowd": "bool",
        "box_ids": "int64",
        "box_areas_px": "float32",
    }


def test_annotations_are_the_example_without_its_image(split_location):
    source = open_source(f"coco:{split_location}", split="train")
    for index in range(3):
        read, known = source[index], source.annotations(index)
        assert known.pop("original_hw") == read.pop("image").shape[:2]
        assert known.keys() == read.keys()
        for key in known:
            np.testing.assert_array_equal(known[key], read[key])


def test_one_file_is_shared_out(tmp_path):
    names = ["a.png", "b.png", "deep/c.png", *(f"{i}.png" for i in range(17))]
    images = [dict(id=i, file_name=name) for i, name in enumerate(names)]
    annotations = [
        dict(image_id=i % 20, category_id=4, bbox=[i, 1, 2, 3]) for i in range(60)
    ]
    content = coco_content() | dict(images=images, annotations=annotations)
    location = write_coco(tmp_path, content)
    splits = {
        s: open_source(f"coco:{location}", split=s) for s in ("train", "validation", "test")
    }
    assert [len(s) for s in splits.values()] == [16, 2, 2]
    for name in names[3:]:
        write_image(tmp_path / "images" / name)
    read = [source[i] for source in splits.values() for i in range(len(source))]
    assert sorted(e["image_id"] for e in read) == list(range(20))
    for e in read:
        i = e["image_id"]
        assert e["boxes_xyxy_px"][:, 0].tolist() == [i, i + 20, i + 40]
        assert e["box_ids"].tolist() == [i + 1, i + 21, i + 41]
    with pytest.raises(UserError, match="unknown split 'dev'"):
        open_source(f"coco:{location}", split="dev")


def test_source_can_be_sent_to_worker_processes(split_location, tmp_path):
    source = pickle.loads(
        pickle.dumps(open_source(f"coco:{split_location}", split="train"))
    )
    (tmp_path / "train.json").unlink()  # parsing it again would take its time again
    assert source[0]["box_ids"].tolist() == [12, 15]


def test_missing_image_is_named_with_its_id(split_location, tmp_path):
    (tmp_path / "images/b.png").unlink()
    source = open_source(f"coco:{split_location}", split="train")
    for read in (source.__getitem__, source.annotations):
        with pytest.raises(BadImageError, match=r"image of id 7: .*images/b.png'"):
            read(0)
    truncate(tmp_path / "images/a.png")
    with pytest.raises(BadImageError, match=r"image of id 3: .*images/a.png'"):
        source[1]


def test_image_of_another_size_than_the_file_says_is_named(tmp_path):
    source = _open(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_image()).save(tmp_path / "images/b.png", exif=exif)
    for read in (source.__getitem__, source.annotations):
        with pytest.raises(BadAnnotationError, match=r"id 7 .*20x30.*b.png.*EXIF.*30x20"):
            read(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(category_id=5), "b.png': the box of id 12.* label -1, is of an unknown"),
        (dict(category_id=None), "the box of id 12.* is of an unknown category"),
        (dict(bbox=None), "train.json: b.png': the box of id 12.* is not four numbers"),
        (dict(bbox=[1, 2, 3]), "the box of id 12.* is not four numbers"),
        (dict(bbox=[1, 2, "x", 3]), "the box of id 12.* is not four numbers"),
        (dict(bbox=[1, 2, 0, 3]), "the box of id 12, .* has no area"),
        (dict(bbox=[1, 2, 3, -1]), "the box of id 12, .* has its corners"),
        (dict(bbox=[10, 2, 30, 4]), "the box of id 12, .* reaches beyond the image"),
    ],
)
def test_faulty_object_is_named_or_counted(tmp_path, change, message):
    annotations = coco_content()["annotations"]
    annotations[1] |= change
    source = _open(tmp_path, annotations=annotations)
    with pytest.raises(BadAnnotationError, match=message):
        CheckedSource(source, skip=False)[0]
    kept = CheckedSource(source, skip=True)[0]
    assert (kept["faulty"], kept["box_ids"].tolist()) == (1, [15])


def test_objects_without_optional_keys_are_read(tmp_path):
    annotations = [dict(image_id=7, category_id=4, bbox=[1, 2, 3, 4])]
    source = _open(tmp_path, annotations=annotations)
    read = source[0]
    assert (read["box_ids"].tolist(), read["box_areas_px"].tolist()) == ([1], [12.0])
    assert not read["box_crowd"].any()


def _without(key: str, part: str) -> dict:
    """Returns the content whose second entry of `part` lacks a key."""
    entries = coco_content()[part]
    del entries[1][key]
    return {part: entries}


@pytest.mark.parametrize(
    ("changes", "message", "counts", "boxes"),
    [
        (
            _without("id", "images"),
            "the image of .*a.png.* lacks the key 'id'",
            (1, 2),
            [1, 0, 0],
        ),
        (
            _without("file_name", "images"),
            "image of id 3 lacks .* 'file_name'",
            (1, 0),
            [1, 0, 0],
        ),
        (
            _without("image_id", "annotations"),
            "annotation of id 12 lacks .*_id'",
            (0, 1),
            [1, 2, 0],
        ),
        (
            dict(annotations=[dict(id=1, image_id=8, bbox=[1, 2, 3, 4], category_id=4)]),
            "annotation of id 1 belongs to the image 8, which is not among its 3",
            (0, 1),
            [0, 0, 0],
        ),
        (
            dict(annotations=[dict(id="x", image_id=3, bbox=[1, 2, 3, 4], category_id=4)]),
            "whole numbers as 'id' of every annotation, got 'x'",
            (0, 1),
            [0, 0, 0],
        ),
    ],
)
def test_entry_that_cannot_be_used_is_named_or_counted(
    tmp_path, changes, message, counts, boxes
):
    source = _open(tmp_path, **changes)
    with pytest.raises(BadAnnotationError, match=message) as caught:
        CheckedSource(source, skip=False)
    assert str(tmp_path) in str(caught.value)
    (batch,) = eval_batches(
        CheckedSource(source, skip=True),
        data=data_config(crop="resize", on_bad_annotation="skip"),
        targets=("boxes",),
        batch_size=3,
    )
    assert (batch["skipped"].sum(), batch["faulty"].sum()) == counts
    assert batch["mask"].tolist() == [True, not counts[0], True]
    assert batch["box_mask"].sum(1).tolist() == boxes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (_without("name", "categories"), "category of id 4 lacks the key 'name'"),
        (_without("id", "categories"), "the category of .*cat.* lacks the key 'id'"),
        (dict(images=3), "under the key 'images', found something else"),
        (dict(images=[1]), "under the key 'images', found something else"),
        (dict(images=coco_content()["images"] * 2), "the image of id 7 is there twice"),
        (dict(categories=[dict(id=1, name="a")] * 2), "category of id 1 is there twice"),
        (dict(categories=[dict(id="x", name="a")]), "whole numbers as 'id' .* got 'x'"),
        (dict(images=[], annotations=[]), "split 'train' has no images"),
    ],
)
def test_file_that_cannot_be_used_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        _open(tmp_path, **changes)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_key_of_the_file_is_named(split_location, tmp_path, key):
    path = tmp_path / "train.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    expected = f"{re.escape(str(path))}'.* under the key '{key}', found "
    with pytest.raises(UserError, match=expected):
        open_source(f"coco:{split_location}", split="train")


@pytest.mark.parametrize("text", ["{", "hello", "", "[1, 2]", "\xff"])
def test_file_that_is_no_such_json_is_named(split_location, tmp_path, text):
    (tmp_path / "train.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="train.json': expected .*json"):
        open_source(f"coco:{split_location}", split="train")


def test_missing_file_is_named(split_location):
    with pytest.raises(UserError, match="split 'test' needs .*/test.json or"):
        open_source(f"coco:{split_location}", split="test")
    with pytest.raises(UserError, match="needs /nowhere"):
        open_source("coco:/nowhere,/nowhere/a.json", split="train")
