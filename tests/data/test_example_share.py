"""A part of the training examples."""

import pickle

import numpy as np
import pytest

from hybrid_jax.config import changed, defaults
from hybrid_jax.data.example_share import ExampleShare
from hybrid_jax.data.sources import open_source, open_split


def images(source):
    return [source[i]["image"].tobytes() for i in range(len(source))]


@pytest.fixture(scope="module")
def whole():
    return open_source("digits", split="train")


def test_shares_are_nested_and_in_order(whole):
    small = images(ExampleShare(whole, fraction=0.02))
    large = images(ExampleShare(whole, fraction=0.1))
    everything = images(whole)
    assert [len(small), len(large)] == [29, 145]  # of 1,444, rounded up
    assert set(small) < set(large) < set(everything)
    places = [everything.index(image) for image in large]
    assert places == sorted(places)
    assert places != list(range(145))


def test_share_is_the_same_again_and_in_a_worker(whole):
    one = ExampleShare(whole, fraction=0.05)
    again = pickle.loads(pickle.dumps(ExampleShare(whole, fraction=0.05)))
    assert images(one) == images(again)


@pytest.mark.parametrize(
    ("fraction", "count"), [(1e-9, 1), (0.5, 722), (1.0, 1444), (7 / 1444, 7)]
)
def test_number_of_examples(whole, fraction, count):
    assert len(ExampleShare(whole, fraction=fraction)) == count


def test_annotations_are_those_of_the_same_example():
    source = open_source("shapes", split="train")
    share = ExampleShare(source, fraction=0.001)
    for index in range(3):
        image = share[index].pop("image")
        annotations = share.annotations(index)
        assert annotations["original_hw"] == image.shape[:2]
        for key in annotations.keys() - {"original_hw"}:
            np.testing.assert_array_equal(annotations[key], share[index][key])


def test_what_else_a_source_knows_is_passed_on(whole):
    class Packed:
        info = whole.info
        packed_from = {"label_map": "1:2"}

        def __len__(self):
            return 5

    share = ExampleShare(Packed(), fraction=0.5)
    assert share.packed_from == {"label_map": "1:2"}
    with pytest.raises(AttributeError, match="mask_ids"):
        share.mask_ids  # noqa: B018


def test_key_cuts_the_training_split_alone():
    data = changed(defaults("tiny"), {"data.train_fraction": 0.1}).data
    train = open_split(data, split="train")
    assert len(train) == 145
    assert train.info.notes[-1] == (
        "145 of 1,444 training examples are used (data.train_fraction)"
    )
    assert len(open_split(data, split="validation")) == 177
