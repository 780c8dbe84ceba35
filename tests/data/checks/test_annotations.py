"""Every fault of an annotation is named with file and id, or left out and counted."""

import numpy as np
import pytest
from dense_examples import INFO, example

from hybrid_jax.data.checks.annotations import check_annotations
from hybrid_jax.errors import BadAnnotationError


def _with_box(box, *, label=0, **more):
    """Returns the example with its second box replaced."""
    good = [2, 3, 12, 9]
    return example(
        boxes_xyxy_px=np.float32([good, box]), box_labels=np.int32([1, label]), **more
    )


FAULTS = [
    ("reaches beyond the image", _with_box([10, 5, 31.5, 20])),
    ("reaches beyond the image", _with_box([-1.5, 5, 20, 20])),
    ("reaches beyond the image", _with_box([40, 5, 60, 20])),
    ("has no area", _with_box([10, 5, 10, 20])),
    ("has no area", _with_box([10, 5, 20, 5])),
    ("has its corners swapped", _with_box([20, 5, 10, 20])),
    ("seems to hold shares", _with_box([0.25, 0.5, 0.75, 1.0])),
    ("is not four numbers", _with_box([10, 5, np.nan, 20])),
    ("is not four numbers", _with_box([np.inf, 5, 20, 20])),
    ("is of an unknown category", _with_box([10, 5, 20, 20], label=2)),
    ("is of an unknown category", _with_box([10, 5, 20, 20], label=-1)),
]


@pytest.mark.parametrize(("words", "faulty"), FAULTS)
def test_faulty_box_is_named_with_file_and_id(words, faulty):
    with pytest.raises(BadAnnotationError) as caught:
        check_annotations(faulty, info=INFO, skip=False)
    for part in ("'photo.jpg'", "id 72", words, "20x30 px", "on_bad_annotation=skip"):
        assert part in str(caught.value)


@pytest.mark.parametrize("example", [example for _, example in FAULTS])
def test_faulty_box_is_left_out_with_all_that_belongs_to_it(example):
    more = dict(box_crowd=np.array([True, False]), box_areas_px=np.float32([4, 5]))
    kept, faults = check_annotations(example | more, info=INFO, skip=True)
    assert [fault.count for fault in faults] == [1]
    assert kept["boxes_xyxy_px"].tolist() == [[2, 3, 12, 9]]
    for key, value in dict(
        box_labels=[1], box_ids=[71], box_crowd=[True], box_areas_px=[4.0]
    ).items():
        assert kept[key].tolist() == value


def test_box_without_ids_is_called_by_its_place():
    faulty = _with_box([1, 1, 1, 1])
    del faulty["box_ids"]
    with pytest.raises(BadAnnotationError, match=r"index 1, \[1.0, 1.0, 1.0, 1.0\]"):
        check_annotations(faulty, info=INFO, skip=False)


def test_good_example_is_left_alone():
    good = example()
    kept, faults = check_annotations(good, info=INFO, skip=False)
    assert faults == []
    assert kept.keys() == good.keys()
    for key in good:
        np.testing.assert_array_equal(kept[key], good[key])


def test_box_a_pixel_outside_is_cut_and_no_fault():
    kept, faults = check_annotations(_with_box([-1, 5, 31, 21]), info=INFO, skip=False)
    assert faults == []
    assert kept["boxes_xyxy_px"][1].tolist() == [0, 5, 30, 20]


def test_size_stands_in_for_an_image_that_is_not_read():
    unread = _with_box([10, 5, 31.5, 20], original_hw=(20, 32))
    del unread["image"], unread["segmentation"]
    assert check_annotations(unread, info=INFO, skip=False)[1] == []
    with pytest.raises(BadAnnotationError, match="reaches beyond"):
        check_annotations(unread | dict(original_hw=(20, 30)), info=INFO, skip=False)


def test_no_boxes_are_no_fault():
    empty = example(boxes_xyxy_px=np.zeros((0, 4)), box_labels=[], box_ids=[])
    kept, faults = check_annotations(empty, info=INFO, skip=False)
    assert (kept["boxes_xyxy_px"].shape, faults) == ((0, 4), [])


@pytest.mark.parametrize("read", [True, False])
def test_mask_of_another_size_is_named_or_becomes_void(read):
    other = example(segmentation=np.zeros((20, 29), np.uint8))
    if not read:
        other["original_hw"] = other.pop("image").shape[:2]
    with pytest.raises(BadAnnotationError, match="'photo.jpg': the mask is 20x29 .* 20x30"):
        check_annotations(other, info=INFO, skip=False)
    kept, faults = check_annotations(other, info=INFO, skip=True)
    assert [fault.count for fault in faults] == [1]
    assert kept["segmentation"].shape == (20, 30)
    assert kept["segmentation"].dtype == np.uint8
    assert (kept["segmentation"] == 255).all()


def test_mask_with_unknown_ids_is_named_or_void_there():
    ids = np.zeros((20, 30), np.uint8)
    ids[3, 4], ids[5], ids[6] = 3, 255, 2
    with pytest.raises(
        BadAnnotationError, match=r"'photo.jpg': .* id 3, .* 0 to 2 and 255"
    ):
        check_annotations(example(segmentation=ids), info=INFO, skip=False)
    kept, faults = check_annotations(example(segmentation=ids), info=INFO, skip=True)
    assert [fault.count for fault in faults] == [1]
    expected = ids.copy()
    expected[3, 4] = 255
    np.testing.assert_array_equal(kept["segmentation"], expected)
    assert ids[3, 4] == 3  # the source's own array is not written to
