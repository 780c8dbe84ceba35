"""A part of the training examples."""

import hashlib
import math
import pickle

import numpy as np
import pytest

from hybrid_jax.config import changed, defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.example_share import ExampleShare
from hybrid_jax.data.sources import open_source, open_split
from hybrid_jax.data.sources.shapes import ShapesSource
from hybrid_jax.errors import BadAnnotationError
from hybrid_jax.train.checkpoints.dataset_record import record_of


class Unlabeled:
    """Numbered examples and nothing else."""

    info = DatasetInfo(box_names=("thing",))

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        return {"image_id": index}


class Labeled:
    """Examples with labels and, if they are given, names."""

    def __init__(self, labels, names=None):
        self.info = DatasetInfo(num_classes=1 + max(labels))
        self._labels, self._names = labels, names or list(map(str, range(len(labels))))

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, index):
        return {"label": self._labels[index], "image_id": self._names[index]}


def images(source):
    return [source[i]["image"].tobytes() for i in range(len(source))]


@pytest.fixture(scope="module")
def whole():
    return open_source("digits", split="train")


def test_shares_are_nested_and_in_order(whole):
    small = images(ExampleShare(whole, fraction=0.02))
    large = images(ExampleShare(whole, fraction=0.1))
    everything = images(whole)
    assert [len(small), len(large)] == [30, 149]  # of each of 10 classes, rounded up
    assert set(small) < set(large) < set(everything)
    places = [everything.index(image) for image in large]
    assert places == sorted(places)
    assert places != list(range(149))


def test_share_is_the_same_again_and_in_a_worker(whole):
    one = ExampleShare(whole, fraction=0.05)
    again = pickle.loads(pickle.dumps(ExampleShare(whole, fraction=0.05)))
    assert images(one) == images(again)


@pytest.mark.parametrize(
    ("fraction", "count"), [(1e-9, 1), (0.5, 50), (1.0, 100), (0.07, 7), (0.071, 8)]
)
def test_number_of_examples_without_labels_and_of_each_class(fraction, count):
    assert len(ExampleShare(Unlabeled(100), fraction=fraction)) == count
    share = ExampleShare(Labeled([0, 1] * 100), fraction=fraction)
    labels = [share[i]["label"] for i in range(len(share))]
    assert [labels.count(label) for label in (0, 1)] == [count, count]


def test_annotations_are_those_of_the_same_example():
    source = ShapesSource(split="test", size_px=64, num_examples=24)
    share = ExampleShare(source, fraction=0.1)
    for index in range(3):
        image = share[index].pop("image")
        annotations = share.annotations(index)
        assert annotations["original_hw"] == image.shape[:2]
        for key in annotations.keys() - {"original_hw"}:
            np.testing.assert_array_equal(annotations[key], share[index][key])


def test_what_else_a_source_knows_is_passed_on():
    class Packed:
        info = DatasetInfo(box_names=("thing",))
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
    assert len(train) == 149
    assert train.info.notes[-1] == (
        "149 of 1,444 training examples are used (data.train_fraction)"
    )
    assert len(open_split(data, split="validation")) == 177


def names_of(share):
    return [share[i]["image_id"] for i in range(len(share))]


def test_share_is_that_of_each_class_by_brute_force():
    rng = np.random.default_rng(1)
    labels = rng.choice(4, 500, p=(0.9, 0.07, 0.02, 0.01)).tolist()
    names = [f"{label}/{n}.jpg" for n, label in enumerate(labels)]
    shares = {}
    for fraction in (0.02, 0.1, 0.5, 1.0):
        expected = set()
        for label in range(4):
            own = [name for name in names if name.startswith(f"{label}/")]
            own.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
            expected |= set(own[: math.ceil(round(fraction * len(own), 6))])
        share = names_of(ExampleShare(Labeled(labels, names), fraction=fraction))
        assert set(share) == expected
        assert share == [name for name in names if name in expected]
        shares[fraction] = expected
    assert shares[0.02] < shares[0.1] < shares[0.5] < shares[1.0] == set(names)
    assert {name[0] for name in shares[0.02]} == set("0123")


def test_examples_that_cannot_be_used_are_a_class_of_their_own():
    class Faulty(Labeled):
        def __getitem__(self, index):
            if index == 1:
                raise BadAnnotationError("example 1: a bad box")
            return super().__getitem__(index)

    source = Faulty([0, 0, 1, 1])
    source._labels[3] = None
    share = ExampleShare(source, fraction=0.5)
    indices = {i for i in range(4) if i in share._indices}
    assert 0 in indices  # the one good example of its class
    assert 2 in indices
    assert len(indices & {1, 3}) == 1


def test_share_does_not_depend_on_the_order_of_files():
    labels = [n % 3 for n in range(90)]
    names = [f"{label}/{n}.jpg" for n, label in enumerate(labels)]
    order = np.random.default_rng(2).permutation(90)
    mixed = Labeled([labels[i] for i in order], [names[i] for i in order])
    share = names_of(ExampleShare(Labeled(labels, names), fraction=0.3))
    other = names_of(ExampleShare(mixed, fraction=0.3))
    assert set(share) == set(other)
    assert share != other


def test_sources_that_list_their_labels_say_what_their_examples_say(whole):
    for source in (whole, ShapesSource(split="test", size_px=64, num_examples=24)):
        labels = [source[i]["label"] for i in range(20)]
        assert [label for label, _ in source.labeled_names()[:20]] == labels
        assert len(source.labeled_names()) == len(source)


def test_record_of_the_data_tells_one_share_from_another():
    def digest(fraction):
        data = changed(defaults("tiny"), {"data.train_fraction": fraction}).data
        source = open_split(data, split="train")
        return record_of(source, source, task="classification").share_digest

    assert digest(1.0) == ""
    assert len({digest(0.1), digest(0.1), digest(0.2)} - {""}) == 2
