import numpy as np
import pytest
from data_examples import NumberedSource, data_config

from hybrid_jax.data.batch_rows import (
    EvalRows,
    LabelRows,
    ReadableExamples,
    TrainRow,
    rows_for,
)
from hybrid_jax.data.transforms.dense import DenseRows
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError

SKIP = (BadImageError,)


def test_unreadable_examples_give_way_to_the_next():
    examples = ReadableExamples(NumberedSource(6, bad=(0, 2, 3, 5)), skip=SKIP)
    read = [(e["label"], e["skipped"]) for e in (examples[i] for i in range(6))]
    assert read == [(1, 1), (1, 0), (4, 2), (4, 1), (4, 0), (1, 2)]


def test_data_set_of_unreadable_images_is_an_error():
    examples = ReadableExamples(NumberedSource(3, bad=(0, 1, 2)), skip=SKIP)
    with pytest.raises(UserError, match="none of the 3 examples .*'number_0.jpg'"):
        examples[1]


def test_train_row_has_the_types_of_a_batch():
    row = TrainRow(LabelRows(data_config()))
    example = {"image": np.zeros((5, 5, 3), np.uint8), "label": 4, "image_id": "a"}
    result = row(example, np.random.default_rng(0))
    assert result["image"].shape == (12, 16, 3)
    dtypes = {key: np.asarray(value).dtype.name for key, value in result.items()}
    assert dtypes == {
        "image": "uint8",
        "label": "int32",
        "mask": "bool",
        "skipped": "int32",
    }
    assert result["label"] == 4


def _eval_rows(source, *, num_rows: int, skip=()) -> EvalRows:
    return EvalRows(
        source,
        rows=LabelRows(data_config()),
        num_rows=num_rows,
        skip=skip,
    )


def test_eval_rows_end_with_masked_zeros():
    rows = _eval_rows(NumberedSource(3), num_rows=5)
    assert len(rows) == 5
    assert [bool(rows[i]["mask"]) for i in range(5)] == [True] * 3 + [False] * 2
    assert [int(rows[i]["index"]) for i in range(5)] == [0, 1, 2, 3, 4]
    assert not rows[4]["image"].any()
    assert rows[4]["image"].shape == (12, 16, 3)


def test_eval_rows_mask_what_cannot_be_read():
    rows = _eval_rows(NumberedSource(3, bad=(1,)), num_rows=3, skip=SKIP)
    assert [bool(rows[i]["mask"]) for i in range(3)] == [True, False, True]
    assert [int(rows[i]["skipped"]) for i in range(3)] == [0, 1, 0]


def test_eval_rows_raise_for_what_cannot_be_read():
    rows = _eval_rows(NumberedSource(3, bad=(1,)), num_rows=3, skip=(BadAnnotationError,))
    with pytest.raises(BadImageError, match="number_1"):
        rows[1]


def test_targets_choose_the_rows():
    assert isinstance(rows_for(("label",), data=data_config()), LabelRows)
    for targets in (("boxes",), ("segmentation",), ("boxes", "segmentation")):
        assert isinstance(rows_for(targets, data=data_config()), DenseRows)


@pytest.mark.parametrize("crop", ["letterbox", "scale_jitter"])
def test_labels_alone_are_not_cropped_like_boxes(crop):
    with pytest.raises(UserError, match=f"data.crop: expected 'resize'.* got '{crop}'"):
        rows_for(("label",), data=data_config(crop=crop))
