import numpy as np
import pytest
from data_examples import data_config
from dense_examples import ListedSource, example
from ml_collections import ConfigDict

from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.data.pipeline import eval_batches, train_batches

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
    "cut_off": ((), "int32"),
    "vanished": ((), "int32"),
    "segmentation": ((12, 16), "uint8"),
    "mask": ((), "bool"),
    "skipped": ((), "int32"),
}


def _data(**changes) -> ConfigDict:
    return data_config(**(dict(max_boxes=4) | changes))


def _types(row) -> dict:
    return {k: (np.shape(v), np.asarray(v).dtype.name) for k, v in row.items()}


def _evaluated(given, *, targets=BOTH, **changes) -> dict:
    return _loader(given, targets=targets, **changes).evaluate(0)


def _loader(given, *, targets=BOTH, **changes) -> ExampleLoader:
    return ExampleLoader([given], data=_data(**changes), targets=targets)


def _trained(given, seed: int = 0, **changes) -> dict:
    return _loader(given, **changes).train(0, np.random.default_rng(seed))


def test_rows_of_all_kinds_have_the_same_keys_and_types():
    assert _types(_trained(example(), crop="scale_jitter")) == TYPES
    loader, index = _loader(example()), {"index": ((), "int32")}
    assert [_types(loader.evaluate(i)) for i in range(2)] == [TYPES | index] * 2
    empty = loader.evaluate(1)
    assert not empty["mask"]
    assert not empty["box_mask"].any()
    assert (empty["segmentation"] == 255).all()


@pytest.mark.parametrize("target", BOTH)
def test_rows_hold_the_targets_that_were_asked_for(target):
    keys = set(TYPES) - {"segmentation"}
    if target == "segmentation":
        of_boxes = ("dropped", "cut_off", "vanished")
        keys = {k for k in TYPES if not k.startswith("box") and k not in of_boxes}
    loader = _loader(example(), targets=(target,))
    assert loader.evaluate(0).keys() == loader.evaluate(1).keys() == keys | {"index"}


def test_evaluation_keeps_the_aspect_ratio_and_says_where_the_image_lies():
    row = _evaluated(example())
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
    row = _evaluated(example(), eval_fit="resize")
    assert row["content_yxyx_px"].tolist() == [0, 0, 12, 16]


def test_random_crops_differ_from_draw_to_draw_and_not_by_seed():
    rows = [_trained(example(), seed, crop="scale_jitter") for seed in (0, 0, 1)]
    scales = [row["scale_yx"].tolist() for row in rows]
    assert scales[0] == scales[1] != scales[2]


def test_of_too_many_objects_the_largest_are_kept_and_the_rest_counted():
    sides = np.array([3, 9, 5, 8, 2, 7, 6])
    corners = np.zeros((7, 2))
    boxes = np.concatenate([corners, np.stack([sides, sides], 1)], 1).astype(np.float32)
    crowded = example(boxes_xyxy_px=boxes, box_labels=np.arange(7))
    row = _evaluated(crowded, image_size=(20, 30))
    assert int(row["dropped"]) == 3
    assert row["box_labels"].tolist() == [1, 3, 5, 6]  # in the order of the source
    assert row["boxes_xyxy_px"][:, 2].tolist() == [9, 8, 7, 6]
    assert row["box_mask"].all()


def test_crowds_are_no_targets():
    row = _evaluated(example(box_crowd=np.array([True, False])))
    assert row["box_mask"].tolist() == [True, False, False, False]
    assert row["box_labels"][0] == 0
    assert row["dropped"] == row["cut_off"] == row["vanished"] == 0


def test_objects_that_crops_and_resizing_take_are_counted_by_cause():
    # At a quarter of the size: one of 3 px vanishes; a crop of half takes others.
    boxes = np.float32([[0, 0, 3, 40], [0, 0, 60, 80], [70, 0, 119, 79]])
    large = example(
        image=np.zeros((80, 120, 3), np.uint8),
        boxes_xyxy_px=boxes,
        box_labels=np.int32([0, 1, 2]),
        segmentation=np.zeros((80, 120), np.uint8),
    )
    row = _evaluated(large, image_size=(20, 30))
    assert (int(row["vanished"]), int(row["cut_off"])) == (1, 0)
    assert row["box_labels"][row["box_mask"]].tolist() == [1, 2]
    crops = dict(crop="random_resized", crop_area=(0.1, 0.2), image_size=(20, 30))
    rows = [_trained(large, seed, **crops) for seed in range(20)]
    assert sum(int(row["cut_off"]) for row in rows) > 10
    for row in rows:
        lost = int(row["cut_off"] + row["vanished"])
        assert int(row["box_mask"].sum()) + lost == 3


def test_image_without_objects_is_a_row():
    empty = example(boxes_xyxy_px=np.zeros((0, 4), np.float32), box_labels=np.int32([]))
    row = _trained(empty, crop="scale_jitter")
    assert _types(row) == TYPES
    assert not row["box_mask"].any()


def test_count_of_faulty_annotations_travels():
    assert _evaluated(example(faulty=3))["faulty"] == 3
    assert _evaluated(example())["faulty"] == 0


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
