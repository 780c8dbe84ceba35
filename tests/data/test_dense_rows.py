import numpy as np
import pytest
from data_examples import data_config
from dense_examples import ListedSource, example
from ml_collections import ConfigDict

from hybrid_jax.data.batch_rows import EvalRows, TrainRow
from hybrid_jax.data.pipeline import eval_batches, train_batches
from hybrid_jax.data.transforms.dense import DenseRows
from hybrid_jax.data.transforms.photometric import color_jitter
from hybrid_jax.data.transforms.placement import PADDING_U8
from hybrid_jax.errors import UserError

BOTH = ("boxes", "segmentation")
TYPES = {
    "image": ((12, 16, 3), "uint8"),
    "faulty": ((), "int32"),
    "original_hw": ((2,), "int32"),
    "scale_yx": ((2,), "float32"),
    "offset_yx": ((2,), "float32"),
    "content_yxyx_px": ((4,), "int32"),
    "boxes_xyxy_px": ((4, 4), "float32"),
    "box_labels": ((4,), "int32"),
    "box_mask": ((4,), "bool"),
    "dropped": ((), "int32"),
    "segmentation": ((12, 16), "uint8"),
}


def _data(**changes) -> ConfigDict:
    return data_config(**(dict(max_boxes=4) | changes))


def _types(row) -> dict:
    return {k: (np.shape(v), np.asarray(v).dtype.name) for k, v in row.items()}


def _rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("crop", ["resize", "letterbox", "scale_jitter"])
def test_rows_of_all_kinds_have_the_same_keys_and_types(crop):
    rows = DenseRows(_data(crop=crop, color_jitter=0.3), BOTH)
    assert _types(rows.train(example(), _rng())) == TYPES
    assert _types(rows.evaluate(example())) == TYPES
    assert _types(rows.empty()) == TYPES
    assert not rows.empty()["box_mask"].any()
    assert (rows.empty()["segmentation"] == 255).all()


def test_padding_keeps_its_gray_under_a_change_of_colors():
    plain = DenseRows(_data(crop="letterbox"), BOTH).train(example(), _rng())["image"]
    rows = DenseRows(_data(crop="letterbox", color_jitter=0.9), BOTH)
    for seed in range(4):
        placed = rows.train(example(), _rng(seed))["image"]
        # As if there were no padding: it does not pull at the contrast.
        alone = color_jitter(plain[:11], _rng(seed), strength=0.9)
        np.testing.assert_array_equal(placed[:11], alone)
        assert (placed[:11] != plain[:11]).any()
        assert (placed[11:] == PADDING_U8).all()


@pytest.mark.parametrize("target", BOTH)
def test_rows_hold_the_targets_that_were_asked_for(target):
    keys = set(TYPES) - {"segmentation"}
    if target == "segmentation":
        keys = {k for k in TYPES if not k.startswith("box") and k != "dropped"}
    rows = DenseRows(_data(), (target,))
    assert rows.evaluate(example()).keys() == rows.empty().keys() == keys


def test_evaluation_keeps_the_aspect_ratio_and_says_where_the_image_lies():
    row = DenseRows(_data(), BOTH).evaluate(example())
    assert row["original_hw"].tolist() == [20, 30]
    assert row["content_yxyx_px"].tolist() == [0, 0, 11, 16]
    np.testing.assert_allclose(row["scale_yx"], [11 / 20, 16 / 30])
    assert (row["segmentation"][11:] == 255).all()
    scale = row["scale_yx"][[1, 0, 1, 0]]
    expected = example()["boxes_xyxy_px"] * scale
    np.testing.assert_allclose(row["boxes_xyxy_px"][:2], expected, rtol=1e-6)
    assert row["box_labels"].tolist() == [1, 0, 0, 0]
    assert row["box_mask"].tolist() == [True, True, False, False]


def test_evaluation_may_stretch():
    row = DenseRows(_data(eval_fit="resize"), BOTH).evaluate(example())
    assert row["content_yxyx_px"].tolist() == [0, 0, 12, 16]


def test_random_crops_differ_from_draw_to_draw_and_not_by_seed():
    rows = DenseRows(_data(crop="scale_jitter"), BOTH)
    scales = [
        rows.train(example(), np.random.default_rng(seed))["scale_yx"].tolist()
        for seed in (0, 0, 1)
    ]
    assert scales[0] == scales[1] != scales[2]


def test_of_too_many_objects_the_largest_are_kept_and_the_rest_counted():
    sides = np.array([3, 9, 5, 8, 2, 7, 6])
    corners = np.zeros((7, 2))
    boxes = np.concatenate([corners, np.stack([sides, sides], 1)], 1).astype(np.float32)
    crowded = example(boxes_xyxy_px=boxes, box_labels=np.arange(7))
    row = DenseRows(_data(image_size=(20, 30)), BOTH).evaluate(crowded)
    assert int(row["dropped"]) == 3
    assert row["box_labels"].tolist() == [1, 3, 5, 6]  # in the order of the source
    assert row["boxes_xyxy_px"][:, 2].tolist() == [9, 8, 7, 6]
    assert row["box_mask"].all()


def test_crowds_are_no_targets():
    row = DenseRows(_data(), BOTH).evaluate(example(box_crowd=np.array([True, False])))
    assert row["box_mask"].tolist() == [True, False, False, False]
    assert row["box_labels"][0] == 0
    assert row["dropped"] == 0


def test_image_without_objects_is_a_row():
    empty = example(boxes_xyxy_px=np.zeros((0, 4), np.float32), box_labels=np.int32([]))
    row = DenseRows(_data(crop="scale_jitter"), BOTH).train(empty, _rng())
    assert _types(row) == TYPES
    assert not row["box_mask"].any()


def test_count_of_faulty_annotations_travels():
    rows = DenseRows(_data(), BOTH)
    assert rows.evaluate(example(faulty=3))["faulty"] == 3
    assert rows.evaluate(example())["faulty"] == 0


@pytest.mark.parametrize("crop", ["pad", "random_resized"])
def test_crop_that_leaves_targets_behind_is_refused(crop):
    with pytest.raises(UserError, match=f"data.crop: .*scale_jitter.*boxes.*'{crop}'"):
        DenseRows(_data(crop=crop), ("boxes",))


def test_augmentation_that_leaves_targets_behind_is_refused():
    with pytest.raises(UserError, match="data.randaugment_layers: expected 0 .* got 2"):
        DenseRows(_data(randaugment_layers=2), ("boxes",))


def test_train_row_and_eval_rows_add_their_keys():
    rows = DenseRows(_data(), BOTH)
    added = {"mask": ((), "bool"), "skipped": ((), "int32")}
    assert _types(TrainRow(rows)(example(skipped=2), _rng())) == TYPES | added
    evaluated = EvalRows(ListedSource([example()]), rows=rows, num_rows=2, skip=())
    added["index"] = ((), "int32")
    assert [_types(evaluated[i]) for i in range(2)] == [TYPES | added] * 2
    assert [bool(evaluated[i]["mask"]) for i in range(2)] == [True, False]


def test_batches_stack_the_rows():
    source = ListedSource([example(faulty=i) for i in range(3)])
    data = _data(crop="scale_jitter")
    stream = train_batches(
        source, data=data, targets=BOTH, batch_size=6, seed=0, start_step=0
    )
    batch = next(iter(stream))
    stream.close()
    assert {k: batch[k].shape for k in TYPES} == {k: (6, *TYPES[k][0]) for k in TYPES}
    assert sorted(batch["faulty"]) == [0, 0, 1, 1, 2, 2]
    (batch,) = eval_batches(source, data=data, targets=BOTH, batch_size=4)
    assert batch["mask"].tolist() == [True] * 3 + [False]
    assert batch["faulty"].tolist() == [0, 1, 2, 0]
