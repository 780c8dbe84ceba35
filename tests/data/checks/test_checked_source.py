"""What is checked and renumbered in sources, so that all who read them see the same."""

import pickle
import re

import numpy as np
import pytest
from data_examples import data_config, random_image
from dense_examples import INFO, ListedSource, example

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data import sources
from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.sources import open_split
from hybrid_jax.data.sources.shapes import ShapesSource
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError

DEGENERATE = np.float32([[2, 3, 12, 9], [10, 5, 10, 20]])


def _faulty() -> ListedSource:
    return ListedSource([example(), example(boxes_xyxy_px=DEGENERATE)])


class _Annotated(ListedSource):
    """Knows its annotations without its images."""

    def __getitem__(self, index):
        raise AssertionError("the image was decoded")

    def annotations(self, index):
        read = dict(self.examples[index])
        return read | {"original_hw": read.pop("image").shape[:2]}


def _open(source, monkeypatch, **changes):
    monkeypatch.setattr(sources, "open_source", lambda name, *, split: source)
    return open_split(data_config(**changes), split="train")


def test_faults_raise():
    source = CheckedSource(_faulty(), skip=False)
    assert source[0]["faulty"] == 0
    for read in (source.__getitem__, source.annotations):
        with pytest.raises(BadAnnotationError, match="id 72.*has no area"):
            read(1)


def test_faults_are_counted_and_left_out():
    source = CheckedSource(_faulty(), skip=True)
    assert len(source) == 2
    assert source.info is INFO
    for read in (source.__getitem__, source.annotations):
        assert [read(i)["faulty"] for i in range(2)] == [0, 1]
        assert read(1)["boxes_xyxy_px"].tolist() == [[2, 3, 12, 9]]


@pytest.mark.parametrize("kind", [ListedSource, _Annotated])
def test_annotations_come_with_the_size_and_without_the_image(kind):
    source = CheckedSource(kind([example()]), skip=False)
    read = source.annotations(0)
    assert "image" not in read
    assert tuple(read["original_hw"]) == (20, 30)
    assert read["box_ids"].tolist() == [71, 72]


def test_reduced_masks_start_at_the_first_class():
    mask = np.arange(600, dtype=np.uint8).reshape(20, 30)
    names = tuple(str(i) for i in range(255))
    listed = ListedSource([example(segmentation=mask)], info=INFO)
    listed.info = DatasetInfo(box_names=INFO.box_names, segmentation_names=names)
    source = CheckedSource(listed, skip=False, reduce_zero_label=True)
    expected = [255 if i in (0, 255) else i - 1 for i in mask.ravel()]
    for read in (source[0], source.annotations(0)):
        assert read["segmentation"].dtype == np.uint8
        assert read["segmentation"].ravel().tolist() == expected
    assert source.info.segmentation_names == names[1:]
    assert source.info.box_names == INFO.box_names
    assert mask[0, 1] == 1  # the source's own array is not written to


def test_config_chooses_what_is_checked(monkeypatch):
    raising = _open(_faulty(), monkeypatch)
    with pytest.raises(BadAnnotationError):
        raising[1]
    skipping = _open(_faulty(), monkeypatch, on_bad_annotation="skip")
    assert skipping[1]["faulty"] == 1
    assert skipping[1]["segmentation"][15, 0] == 2
    reduced = _open(
        _faulty(), monkeypatch, on_bad_annotation="skip", reduce_zero_label=True
    )
    assert reduced[1]["faulty"] == 1
    assert reduced[1]["segmentation"][15, 0] == 1
    assert reduced.info.segmentation_names == ("sea", "sand")


def test_masks_that_are_not_there_cannot_be_reduced(monkeypatch):
    boxes = ListedSource([example()], info=DatasetInfo(box_names=("cat", "dog")))
    for source in (boxes, ListedSource([], info=DatasetInfo(3))):
        with pytest.raises(UserError, match="reduce_zero_label: .* no masks"):
            _open(source, monkeypatch, reduce_zero_label=True)


def test_checked_source_can_be_sent_to_worker_processes():
    source = CheckedSource(_faulty(), skip=True, reduce_zero_label=True)
    sent = pickle.loads(pickle.dumps(source))
    assert sent.info == source.info
    for index in range(2):
        for key, value in source[index].items():
            np.testing.assert_array_equal(sent[index][key], value)


def test_generated_shapes_have_no_faults():
    drawn = ShapesSource(split="test_large", size_px=64, num_examples=8)
    source = CheckedSource(drawn, skip=False)
    assert all(source[i]["faulty"] == 0 for i in range(8))
    assert source.annotations(3)["original_hw"] == (64, 64)


def _labeled(**changes) -> ListedSource:
    labeled = {"image": random_image(), "label": 1} | changes
    known = {key: value for key, value in labeled.items() if value is not None}
    return ListedSource([known], info=DatasetInfo(2))


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
@pytest.mark.parametrize("label", [2, -1, 1.0, None, "1", np.float32(0), [0, 1]])
def test_label_that_is_no_class_is_refused(label, on_bad, monkeypatch):
    opened = _open(_labeled(label=label), monkeypatch, on_bad_annotation=on_bad)
    got = "none" if label is None else repr(label)
    message = (
        "data 'digits', train, example 0: label: expected an integer from 0 to 1 "
        f"(2 classes), got {got}. "
    )
    for read in (opened.__getitem__, opened.annotations):
        with pytest.raises(BadAnnotationError, match=re.escape(message)):
            read(0)


@pytest.mark.parametrize("label", [0, 1, np.int64(1), np.array(1, np.uint8)])
def test_label_of_any_integer_type_is_taken(label, monkeypatch):
    opened = _open(_labeled(label=label), monkeypatch)
    assert opened[0]["label"] == label
    assert opened.annotations(0)["original_hw"] == (20, 30)


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (random_image()[..., 0], "(20, 30) uint8"),
        (random_image()[..., :1], "(20, 30, 1) uint8"),
        (random_image() / np.float32(255), "(20, 30, 3) float32"),
        (random_image().tolist(), "a list"),
        (None, "none"),
    ],
)
def test_image_that_is_not_rgb_bytes_is_refused(image, got, monkeypatch):
    opened = _open(_labeled(image=image), monkeypatch)
    message = (
        "data 'digits', train, example 0: image: expected a numpy array (H, W, 3) uint8, "
        f"got {got}. "
    )
    with pytest.raises(BadImageError, match=re.escape(message)):
        opened[0]


def test_names_that_are_not_as_many_as_classes_are_refused(monkeypatch):
    few = ListedSource([], info=DatasetInfo(3, class_names=("a", "b")))
    with pytest.raises(UserError, match="one of class_names for each of the 3 .* got 2"):
        _open(few, monkeypatch)
