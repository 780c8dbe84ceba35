import unicodedata

import pytest

from hybrid_jax.data.formats.splits import held_out, share_of, split_called, usual_names

NAMES = [f"photo_{i}.jpg" for i in range(47)]


def test_shares_are_tenths_that_cover_everything_once():
    shares = {s: share_of(NAMES, split=s) for s in ("train", "validation", "test")}
    assert {s: len(names) for s, names in shares.items()} == {
        "train": 39,
        "validation": 4,
        "test": 4,
    }
    assert sorted(sum(shares.values(), [])) == sorted(NAMES)
    assert all(names == sorted(names) for names in shares.values())


def test_share_does_not_depend_on_the_order():
    for split in ("train", "validation", "test"):
        backwards = share_of(reversed(NAMES), split=split)
        assert backwards == share_of(NAMES, split=split)


@pytest.mark.parametrize(("count", "tenth"), [(1, 0), (2, 0), (3, 1), (19, 1), (20, 2)])
def test_small_sets_have_all_splits_as_soon_as_they_can(count, tenth):
    shares = [share_of(NAMES[:count], split=s) for s in ("test", "validation")]
    assert [len(share) for share in shares] == [tenth, tenth]


def test_usual_names_lead_there_and_back():
    for split in ("train", "validation", "test"):
        assert usual_names(split)[0] == split
        assert {split_called(name) for name in usual_names(split)} == {split}
    assert {"val", "Val", "VAL", "dev"} <= set(usual_names("validation"))
    assert split_called("tRaining") == "train"
    assert split_called("trained") is None
    assert usual_names("test-dev") == ("test-dev",)


@pytest.mark.parametrize(("count", "out"), [(1, 0), (4, 0), (5, 1), (19, 1), (40, 4)])
def test_a_tenth_of_training_is_held_out_and_the_rest_trains(count, out):
    names = [f"photo_{i}.jpg" for i in range(count)]
    shares = [held_out(names, split=s) for s in ("validation", "train")]
    assert len(shares[0]) == out
    assert sorted(sum(shares, [])) == sorted(names)
    assert held_out(reversed(names), split="validation") == shares[0]


def test_both_forms_of_a_letter_are_held_out_alike():
    forms = [
        [unicodedata.normalize(form, f"café {i}.jpg") for i in range(30)]
        for form in ("NFC", "NFD")
    ]
    numbers = [
        [name.split()[1] for name in held_out(names, split="validation")] for names in forms
    ]
    assert numbers[0] == numbers[1]


def test_a_name_given_twice_is_in_one_share_only():
    shares = {s: share_of([*NAMES, *NAMES], split=s) for s in ("train", "validation")}
    assert shares == {s: share_of(NAMES, split=s) for s in shares}
    assert not set(shares["train"]) & set(shares["validation"])
