import pathlib

import pytest

from hybrid_jax.data.formats.paired_folders import paired_folders
from hybrid_jax.errors import UserError


def _places(location: str):
    return paired_folders("coco", location, example="/images,/a.json")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "VALID"])
def test_split_is_found_by_any_usual_name(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "instances_val2017.json").touch()
    places = _places(f"{tmp_path}/{{split}}, {tmp_path}/instances_{{split}}2017.json")
    assert places.by_split
    assert places.of("validation") == (
        tmp_path / name,
        tmp_path / "instances_val2017.json",
    )


def test_split_that_is_nowhere_lists_what_was_tried(tmp_path):
    places = _places(f"{tmp_path},{tmp_path}/{{split}}.json")
    with pytest.raises(UserError) as caught:
        places.of("validation")
    for part in ("'validation' needs", "/validation.json or", "/val.json or", "/dev.json,"):
        assert part in str(caught.value)


def test_other_splits_go_by_their_own_names(tmp_path):
    (tmp_path / "minival.json").touch()
    places = _places(f"{tmp_path},{tmp_path}/{{split}}.json")
    assert places.of("minival")[1].name == "minival.json"


def test_places_without_split_are_the_same_for_all(tmp_path):
    (tmp_path / "all.json").touch()
    places = _places(f"{tmp_path},{tmp_path}/all.json")
    assert not places.by_split
    assert places.of("train") == places.of("test") == (tmp_path, tmp_path / "all.json")


def test_pattern_needs_its_folder_alone(tmp_path):
    places = _places(f"{tmp_path}/*_photo.jpg,{tmp_path}/none/*_ids.png")
    with pytest.raises(UserError, match="none/"):
        places.of("train")
    (tmp_path / "none").mkdir()
    assert places.of("train")[1] == tmp_path / "none" / "*_ids.png"


def test_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.json").touch()
    assert _places("~,~/a.json").of("train") == (pathlib.Path.home(), tmp_path / "a.json")


@pytest.mark.parametrize("location", ["/images", "/images,", "/a,/b,/c", ","])
def test_other_than_two_paths_are_refused(location):
    with pytest.raises(UserError, match="expected two paths .* coco:/images,/a.json"):
        _places(location)


def test_images_by_split_need_annotations_by_split():
    with pytest.raises(UserError, match="expected {split} in '/a.json' too"):
        _places("/{split},/a.json")
