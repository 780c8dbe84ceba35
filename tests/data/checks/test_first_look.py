"""What is seen of a split before a run, and data that means its boxes in another way."""

import json

import numpy as np
import pytest
from data_examples import NumberedSource, data_config
from dense_examples import ListedSource, example, write_image

from hybrid_jax.data.checks.box_faults import CAUSES, box_causes
from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.checks.first_look import faults_note, first_look
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import BadAnnotationError, UserError


@pytest.mark.parametrize(
    ("box", "cause"),
    [
        ([2, 3, 12, 9], ""),
        ([-1, -1, 31, 21], ""),
        ([0, 0, 1, 1], ""),  # an object of one pixel
        ([2, 3, np.nan, 9], "numbers"),
        ([0.25, 0.25, 0.75, 0.75], "relative"),
        ([-0.75, -0.5, 0.75, 1], "relative"),  # as VOC's count from 1 makes it
        ([12, 3, 2, 9], "swapped"),
        ([2, 9, 12, 3], "swapped"),
        ([2, 3, 33, 9], "outside"),
        ([40, 3, 50, 9], "outside"),
        ([2, 3, 2, 9], "area"),
        ([30, 3, 31, 9], "area"),
    ],
)
def test_every_box_has_one_cause(box, cause):
    boxes = np.float32([[2, 3, 12, 9], box])
    found = box_causes(boxes, np.int32([1, 0]), hw=(20, 30), num_classes=2)
    assert found.tolist() == ["", cause]
    assert cause in {"", *CAUSES}


def test_unknown_label_is_a_cause_and_no_boxes_have_none():
    box = np.float32([[2, 3, 12, 9]] * 3)
    found = box_causes(box, np.int32([-1, 1, 2]), hw=(20, 30), num_classes=2)
    assert found.tolist() == ["class", "", "class"]
    none = box_causes(box[:0], np.int32([]), hw=(20, 30), num_classes=2)
    assert none.shape == (0,)


def test_sizes_are_those_of_the_smallest_and_the_largest_image():
    shapes = [(20, 30), (40, 30), (10, 10), (20, 31)]
    images = [example(image=np.zeros((*hw, 3), np.uint8)) for hw in shapes]
    assert first_look(ListedSource(images)).sizes == "10x10 to 40x30 px"
    assert first_look(ListedSource(images[:1])).sizes == "20x30 px"
    assert first_look(NumberedSource(200, bad=(0, 199))).examples == 62
    assert first_look(NumberedSource(1, bad=(0,))).sizes == ""


def _faulty(count: int, *, of: int, box=(0.1, 0.2, 0.5, 0.6)) -> ListedSource:
    """Returns images with two boxes each; of the first `count` the second is `box`."""
    good = [[2, 3, 12, 9], [10, 5, 30, 20]]
    boxes = [
        np.float32([good[0], box]) if i < count else np.float32(good) for i in range(of)
    ]
    return ListedSource([example(boxes_xyxy_px=two) for two in boxes])


def test_some_faulty_boxes_are_said_by_cause():
    look = first_look(CheckedSource(_faulty(3, of=10), skip=True))
    assert (look.boxes, [f.cause for f in look.faults]) == (20, ["relative"])
    assert "3 faulty annotations are left out of 10 test images seen (3 relative)" in (
        faults_note(look, split="test")
    )
    assert "seems to hold shares" in faults_note(look, split="test")
    assert faults_note(first_look(_faulty(0, of=10)), split="train") == ""


def _relative_coco(root, count: int, *, of: int) -> str:
    """Writes `of` images with two boxes each, `count` of all in shares of the sides."""
    boxes = [[0.1, 0.2, 0.5, 0.6]] * count + [[2, 3, 10, 6]] * (2 * of - count)
    for i in range(of):
        write_image(root / f"img/train/{i}.png")
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png") for i in range(of)],
        annotations=[
            dict(id=i, image_id=i % of, category_id=1, bbox=box)
            for i, box in enumerate(boxes)
        ],
        categories=[dict(id=1, name="cat")],
    )
    (root / "train.json").write_text(json.dumps(content))
    write_image(root / "img/val/0.png")
    content = content | dict(images=content["images"][:1], annotations=[])
    (root / "val.json").write_text(json.dumps(content))
    return f"coco:{root}/img/{{split}},{root}/{{split}}.json"


@pytest.mark.parametrize("count", [7, 10])
def test_data_with_a_few_faulty_boxes_is_taken_and_says_so(tmp_path, count):
    name = _relative_coco(tmp_path, count, of=10)
    source = open_split(data_config(name=name, on_bad_annotation="skip"), split="train")
    assert f"{count} faulty annotations are left out" in source.info.notes[0]


def test_data_whose_boxes_are_mostly_wrong_is_refused(tmp_path):
    name = _relative_coco(tmp_path, 11, of=10)
    with pytest.raises(UserError, match=r"11 of 20 boxes .* train split .* seems to hold"):
        open_split(data_config(name=name, on_bad_annotation="skip"), split="train")
    source = open_split(data_config(name=name), split="train")
    with pytest.raises(BadAnnotationError, match="seems to hold shares"):
        source[0]
