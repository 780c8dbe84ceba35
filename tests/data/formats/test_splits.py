import pytest

from hybrid_jax.data.formats.splits import SPLIT_OF_NAME, share_of, usual_names

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
        assert {SPLIT_OF_NAME[name] for name in usual_names(split)} == {split}
    assert "val" in usual_names("validation")
    assert usual_names("test-dev") == ("test-dev",)
