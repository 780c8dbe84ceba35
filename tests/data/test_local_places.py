"""Buckets, the web and archives in place of a folder: said what to do instead."""

import sys
import types

import pytest
from data_examples import data_config

from hybrid_jax.data.sources import SOURCES, open_source, open_split
from hybrid_jax.errors import UserError

_PAIRS = ("coco", "coco_seg", "seg")
_EMBEDDED = ("digits", "shapes", "shapes128")
_ANYWHERE = ("records", "tfds", "hf_dataset")
FOLDERS = [kind for kind in SOURCES.names() if kind not in (*_EMBEDDED, *_ANYWHERE)]


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("place", ["gs://bucket/a", "s3://bucket/a", "https://x.org/a.zip"])
def test_data_elsewhere_is_to_be_packed(kind, place):
    name = f"{kind}:{place},{place}.json" if kind in _PAIRS else f"{kind}:{place}"
    message = rf"{place} is not on this machine.*--mode=pack.*records=gs://"
    with pytest.raises(UserError, match=message):
        open_split(data_config(name=name), split="train")


@pytest.mark.parametrize("name", ["data.zip", "DATA.TAR.GZ"])
def test_archive_is_to_be_unpacked(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"{name} is an archive. Unpack"):
        open_source(f"folder:{tmp_path}/{name}", split="train")
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()  # a folder of this name is one
    with pytest.raises(UserError, match="no images|train/CLASS|folder"):
        open_source(f"folder:{tmp_path}/{name}", split="train")


def test_bucket_that_nothing_installed_reads_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr("hybrid_jax.data.sources.records.read_record_folder", missing)
    with pytest.raises(UserError, match=r"records:gs://b/x.*install gcsfs.*or copy"):
        open_source("records:gs://b/x", split="train")


class _Rows(list):
    features: dict

    def unique(self, column):
        return sorted({row[column] for row in self})


class Image:
    """Stands for `datasets.Image`."""

    def __init__(self, *, decode=True):
        del decode


class Value:
    """Stands for `datasets.Value`."""


@pytest.fixture
def hub(monkeypatch):
    """Stands for the library and the hub behind it; returns the calls that reach it."""
    rows = _Rows({"image": {"path": f"/{i}.jpg"}, "label": "ab"[i % 2]} for i in range(20))
    rows.features = {"image": Image(), "label": Value()}
    rows.cast_column = lambda *_: rows
    calls = []

    def load_dataset(*arguments):
        calls.append(arguments)
        if arguments[0] == "owner/gone":
            raise ConnectionError("couldn't reach the hub")
        return {"train": rows, "test": rows}

    stub = types.ModuleType("datasets")
    stub.load_dataset, stub.Dataset, stub.Image = load_dataset, _Rows, Image
    monkeypatch.setitem(sys.modules, "datasets", stub)
    return calls


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("owner/birds", ("owner/birds", None)),
        ("owner/birds:small", ("owner/birds", "small")),
        ("mnist", ("mnist", None)),
    ],
)
def test_names_of_the_hub_are_asked_for(hub, name, call):
    source = open_source(f"hf_dataset:{name}", split="test")
    assert hub == [call]
    assert (len(source), source.info.class_names) == (20, ("a", "b"))
    assert len(open_source(f"hf_dataset:{name}", split="validation")) == 2


def test_hub_that_is_not_reached_is_said(hub):
    with pytest.raises(UserError, match=r"hf_dataset:owner/gone'.*couldn't reach the hub"):
        open_source("hf_dataset:owner/gone", split="train")
