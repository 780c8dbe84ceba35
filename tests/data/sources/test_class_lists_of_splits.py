"""The classes are those of training; other splits are mapped by name."""

import json

import numpy as np
import pytest
from dense_examples import write_image, write_mask

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError
from hybrid_jax.tasks.detection.coco_scores import CocoScorer


def _write(tmp_path, split: str, categories: dict[str, int], *, seen: str) -> str:
    """Writes one image with an object of the class `seen`; returns the location."""
    write_image(tmp_path / split / "0.png")
    annotation = dict(id=1, image_id=0, category_id=categories[seen], bbox=[2, 3, 9, 8])
    content = dict(
        images=[dict(id=0, file_name="0.png")],
        annotations=[annotation],
        categories=[dict(id=number, name=name) for name, number in categories.items()],
    )
    (tmp_path / f"{split}.json").write_text(json.dumps(content))
    return f"coco:{tmp_path}/{{split}},{tmp_path}/{{split}}.json"


@pytest.mark.parametrize(
    ("categories", "ids"),
    [
        (dict(cat=1, dog=2, cow=3), (1, 2, 3)),
        (dict(dog=1, cow=2, cat=3), (3, 1, 2)),
        (dict(dog=7), (1, 7, 3)),
        (dict(dog=1), (4, 1, 3)),  # 1, the id of cat in training, is taken
        (dict(cow=1, dog=3), (4, 3, 1)),
    ],
)
def test_labels_of_another_split_are_found_by_name(tmp_path, categories, ids):
    data = _write(tmp_path, "train", dict(cat=1, dog=2, cow=3), seen="cow")
    _write(tmp_path, "val", categories, seen="dog")
    source = open_source(data, split="validation")
    assert source.info.box_names == ("cat", "dog", "cow")
    assert source.info.box_category_ids == ids
    assert source[0]["box_labels"].tolist() == [1]


def test_perfect_boxes_score_one_whatever_the_ids_are(tmp_path):
    data = _write(tmp_path, "train", dict(cat=1, dog=2), seen="dog")
    _write(tmp_path, "val", dict(dog=1, cat=2), seen="dog")
    label = open_source(data, split="train")[0]["box_labels"]
    scorer = CocoScorer(open_source(data, split="validation"))
    predictions = dict(
        valid=np.ones((1, 1), bool),
        boxes_xyxy_px=np.array([[[2.0, 3, 11, 11]]]),
        scores=np.ones((1, 1)),
        labels=label[None],
    )
    scorer.add(predictions, np.arange(1))
    assert scorer.scores()["AP/dog"] == pytest.approx(1.0)
    assert scorer.results()[0]["category_id"] == 1  # as the file of the split has it


def test_class_that_training_lacks_is_refused_by_name(tmp_path):
    data = _write(tmp_path, "train", dict(cat=1, dog=2), seen="dog")
    _write(tmp_path, "val", dict(cat=1, dogs=2), seen="cat")
    with pytest.raises(UserError, match="'dogs' is not among the 2 .* mean 'dog'"):
        open_source(data, split="validation")


def test_two_categories_of_one_name_are_refused(tmp_path):
    data = _write(tmp_path, "train", {"cat": 1, "dog": 2, "cat ": 5}, seen="dog")
    with pytest.raises(UserError, match="ids 1 and 5 are both called 'cat '"):
        open_source(data, split="train")


def test_changed_training_file_is_read_again(tmp_path):
    data = _write(tmp_path, "train", dict(cat=1, dog=2), seen="dog")
    _write(tmp_path, "val", dict(dog=1), seen="dog")
    assert open_source(data, split="validation")[0]["box_labels"] == [1]
    _write(tmp_path, "train", dict(dog=1, elephant=2), seen="dog")
    assert open_source(data, split="validation")[0]["box_labels"] == [0]


def test_gaps_in_numbers_of_classes_are_said(tmp_path):
    data = _write(tmp_path, "train", dict(cat=1, dog=4), seen="dog")
    _write(tmp_path, "val", dict(dog=4), seen="dog")
    assert (
        "from 1 to 4 and leave out 2 (2, 3)"
        in open_source(data, split="train").info.notes[0]
    )
    for i, folder in enumerate(("train/0", "train/2", "val/0")):
        write_image(tmp_path / "f" / folder / f"{i}.png")
    source = open_source(f"folder:{tmp_path}/f", split="train")
    assert "from 0 to 2 and leave out 1 (1)" in source.info.notes[0]
    for split in ("train", "val"):
        write_image(tmp_path / f"img/{split}/0.png")
        write_mask(tmp_path / f"mask/{split}/0.png", 4 * np.eye(20, 30, dtype=np.uint8))
    source = open_source(f"seg:{tmp_path}/img,{tmp_path}/mask", split="train")
    assert "no mask of training holds 3 of the ids 0 to 4 (1, 2, 3)" in source.info.notes[0]
