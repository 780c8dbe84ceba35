import pathlib

import pytest

from hybrid_jax.data import sources
from hybrid_jax.data.sources import SOURCES, open_source
from hybrid_jax.errors import UserError


def test_unknown_kind_lists_all():
    with pytest.raises(
        UserError, match="'digit'. Did you mean 'digits'?.*folder, hf_d.*, mnist"
    ):
        open_source("digit", split="train")


def test_sources_are_found_by_their_files():
    files = pathlib.Path(sources.__file__).parent.glob("*.py")
    expected = {file.stem for file in files} - {"__init__"} | {"shapes128"}
    own = {n for n in SOURCES.names() if not _is_of_the_package(SOURCES.get(n))}
    assert set(SOURCES.names()) - own == expected, (
        "a file of hybrid_jax/data/sources registers its source under its own name"
    )


def _is_of_the_package(source) -> bool:
    return source.__module__.startswith(f"{sources.__name__}.")


@pytest.mark.parametrize("name", ["digits", "shapes", "shapes128"])
def test_embedded_source_takes_no_location(name):
    with pytest.raises(UserError, match=f"'{name}' comes with .* got '/data' after"):
        open_source(f"{name}:/data", split="train")


@pytest.mark.parametrize(
    "name",
    ["coco", "coco_seg", "folder", "hf_dataset", "mnist", "seg", "tfds", "voc", "voc_seg"],
)
def test_source_with_location_asks_for_it(name):
    with pytest.raises(UserError, match=f"expected a location .* data.name='{name}:"):
        open_source(name, split="train")


@pytest.mark.parametrize("name", ["digits", "shapes", "shapes128"])
def test_unknown_split_lists_those_there_are(name):
    with pytest.raises(UserError, match="'tset'. Did you mean 'test'?.* train, valid"):
        open_source(name, split="tset")
