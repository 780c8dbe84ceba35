"""Data sets of Hugging Face's library from local folders, and what can be wrong."""

import io
import pickle
import sys

import numpy as np
import pytest
from data_examples import random_image
from PIL import Image

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


@pytest.fixture
def hf(tmp_path, monkeypatch):
    """The library, offline and with caches of its own."""
    library = pytest.importorskip("datasets", reason="pip install 'hybrid_jax[datasets]'")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    return library


def _stored(seed: int) -> dict:
    file = io.BytesIO()
    Image.fromarray(random_image(seed)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def _labeled(hf, labels, *, names=("robin", "finch"), images=None):
    kind = hf.ClassLabel(names=list(names)) if names else hf.Value("string")
    features = hf.Features({"img": hf.Image(), "label": kind})
    images = images or [_stored(i) for i in range(len(labels))]
    return hf.Dataset.from_dict({"img": images, "label": labels}, features=features)


def _boxed(hf, objects):
    features = hf.Features(
        {
            "image": hf.Image(),
            "objects": {
                "bbox": hf.Sequence(hf.Sequence(hf.Value("float32"))),
                "category": hf.Sequence(hf.ClassLabel(names=["cat", "dog"])),
            },
        }
    )
    content = {"image": [_stored(i) for i in range(len(objects))], "objects": objects}
    return hf.Dataset.from_dict(content, features=features)


def _parquet(root, **splits) -> str:
    (root / "birds/data").mkdir(parents=True)
    for split, rows in splits.items():
        rows.to_parquet(str(root / f"birds/data/{split}-00000-of-00001.parquet"))
    return f"hf_dataset:{root}/birds"


def _saved(root, hf, **splits) -> str:
    hf.DatasetDict(**splits).save_to_disk(str(root / "saved"))
    return f"hf_dataset:{root}/saved"


def test_parquet_gives_the_pixels_and_labels_that_were_stored(hf, tmp_path):
    train, test = _labeled(hf, [0, 1, 1, 0, 1]), _labeled(hf, [1, 0])
    source = open_source(_parquet(tmp_path, train=train, test=test), split="test")
    assert source.info.class_names == ("robin", "finch")
    assert [source[i]["label"] for i in range(2)] == [1, 0]
    for index in range(2):
        np.testing.assert_array_equal(source[index]["image"], random_image(index))
        known = pickle.loads(pickle.dumps(source)).annotations(index)
        assert known.pop("original_hw") == (20, 30)
        read = source[index]
        del read["image"]
        assert known == read


def test_a_tenth_of_training_is_held_out(hf, tmp_path):
    name = _saved(tmp_path, hf, train=_labeled(hf, [0, 1] * 10))
    held, rest = (open_source(name, split=split) for split in ("validation", "train"))
    ids = [{source[i]["image_id"] for i in range(len(source))} for source in (held, rest)]
    assert list(map(len, ids)) == [2, 18]
    assert not ids[0] & ids[1]
    assert "2 of the 20" in " ".join(rest.info.notes)


def test_images_in_folders_are_read_from_their_files(hf, tmp_path):
    for split in ("train", "valid"):
        for label in ("a", "b"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            Image.fromarray(random_image(3)).save(folder / "0.png")
    source = open_source(f"hf_dataset:{tmp_path}/photos", split="validation")
    assert (len(source), source.info.class_names) == (2, ("a", "b"))
    np.testing.assert_array_equal(source[0]["image"], random_image(3))


def test_other_splits_are_mapped_by_names(hf, tmp_path):
    other = _labeled(hf, [0, 1], names=("finch", "robin"))
    name = _saved(tmp_path, hf, train=_labeled(hf, [0, 1]), test=other)
    assert [open_source(name, split="test")[i]["label"] for i in range(2)] == [1, 0]


def test_class_that_training_lacks_is_refused(hf, tmp_path):
    other = _labeled(hf, [0, 1], names=("finch", "robbin"))
    name = _saved(tmp_path, hf, train=_labeled(hf, [0, 1]), test=other)
    with pytest.raises(UserError, match="'robbin' is not among.*Did you mean 'robin'"):
        open_source(name, split="test")


def test_texts_are_classes_too(hf, tmp_path):
    train = _labeled(hf, ["b", "a", "b"], names=None)
    test = _labeled(hf, ["b", "c"], names=None)
    source = open_source(_saved(tmp_path, hf, train=train, test=test), split="test")
    assert source.info.class_names == ("a", "b")
    assert source[0]["label"] == 1
    with pytest.raises(UserError, match="row 1 has the label 'c'"):
        source[1]


def test_secret_labels_are_refused(hf, tmp_path):
    name = _saved(tmp_path, hf, train=_labeled(hf, [0, 1]), test=_labeled(hf, [-1]))
    with pytest.raises(UserError, match="row 0 has the label -1.*kept secret"):
        open_source(name, split="test")[0]


def test_boxes_are_corners(hf, tmp_path):
    one = dict(bbox=[[1, 2, 10, 5], [0, 0, 4, 4]], category=[1, 0])
    wrong = dict(bbox=[[1, 2, 10, 5]], category=[1, 0])
    rows = _boxed(hf, [one, dict(bbox=[], category=[]), wrong])
    source = open_source(_saved(tmp_path, hf, test=rows), split="test")
    assert source.info.box_names == ("cat", "dog")
    assert source[0]["boxes_xyxy_px"].tolist() == [[1, 2, 11, 7], [0, 0, 4, 4]]
    assert source[0]["box_labels"].tolist() == [1, 0]
    assert source[1]["boxes_xyxy_px"].shape == (0, 4)
    with pytest.raises(BadAnnotationError, match="row 2: it has 1 boxes and 2 classes"):
        source[2]


@pytest.mark.parametrize("stored", [None, {"bytes": b"no picture", "path": None}])
def test_bad_image_is_named_by_its_row(hf, tmp_path, stored):
    rows = _labeled(hf, [0, 1], images=[_stored(0), stored])
    source = open_source(_saved(tmp_path, hf, test=rows), split="test")
    with pytest.raises(BadImageError, match="row 1: "):
        source[1]


def test_columns_that_are_there_are_listed(hf, tmp_path):
    rows = hf.Dataset.from_dict({"text": ["a"], "label": [1]})
    with pytest.raises(UserError, match=r"column of images.*got text \(Value\), label"):
        open_source(_saved(tmp_path, hf, train=rows), split="train")


def test_folder_without_data_and_missing_split_are_named(hf, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="expected a folder that `datasets` reads or a"):
        open_source(f"hf_dataset:{tmp_path}/empty", split="train")
    name = _saved(tmp_path, hf, train=_labeled(hf, [0, 1]))
    with pytest.raises(UserError, match="unknown split 'test'.* It has: train, validation"):
        open_source(name, split="test")


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the library datasets: .*\[datasets\]"):
        open_source("hf_dataset:/data/birds", split="train")
