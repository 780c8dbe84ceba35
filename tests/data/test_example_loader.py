import pickle

import numpy as np
import pytest
from data_examples import NumberedSource, data_config
from dense_examples import ListedSource, example

from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.errors import BadImageError, UserError

LABEL, BOTH = ("label",), ("boxes", "segmentation")


def _loader(source, *, targets=LABEL, **changes) -> ExampleLoader:
    return ExampleLoader(source, data=data_config(**changes), targets=targets)


def _train(loader, index: int, seed: int = 0):
    return loader.train(index, np.random.default_rng(seed))


def _types(row) -> dict:
    return {key: (np.shape(v), np.asarray(v).dtype.name) for key, v in row.items()}


def test_unreadable_examples_give_way_to_the_next():
    loader = _loader(NumberedSource(6, bad=(0, 2, 3, 5)), on_bad_image="skip")
    rows = [_train(loader, index) for index in range(6)]
    read = [(int(row["label"]), int(row["skipped"])) for row in rows]
    assert read == [(1, 1), (1, 0), (4, 2), (4, 1), (4, 0), (1, 2)]


def test_data_set_of_unreadable_images_is_an_error():
    loader = _loader(NumberedSource(3, bad=(0, 1, 2)), on_bad_image="skip")
    with pytest.raises(UserError, match="none of the 3 examples .*'number_0.jpg'"):
        _train(loader, 1)


def test_rows_of_labels_have_the_types_of_a_batch():
    labeled = {"image": np.zeros((5, 5, 3), np.uint8), "label": 4, "image_id": "a"}
    loader = _loader([labeled])
    types = {
        "image": ((12, 16, 3), "uint8"),
        "label": ((), "int32"),
        "mask": ((), "bool"),
        "skipped": ((), "int32"),
    }
    assert _types(_train(loader, 0)) == types
    assert _train(loader, 0)["label"] == 4
    types["index"] = ((), "int32")
    assert [_types(loader.evaluate(i)) for i in range(2)] == [types] * 2


def test_evaluation_ends_with_masked_zeros():
    loader = _loader(NumberedSource(3))
    rows = [loader.evaluate(index) for index in range(5)]
    assert [bool(row["mask"]) for row in rows] == [True] * 3 + [False] * 2
    assert [int(row["index"]) for row in rows] == [0, 1, 2, 3, 4]
    assert not rows[4]["image"].any()


def test_evaluation_masks_what_cannot_be_read():
    loader = _loader(NumberedSource(3, bad=(1,)), on_bad_image="skip")
    rows = [loader.evaluate(index) for index in range(3)]
    assert [bool(row["mask"]) for row in rows] == [True, False, True]
    assert [int(row["skipped"]) for row in rows] == [0, 1, 0]


def test_evaluation_raises_for_what_cannot_be_read():
    loader = _loader(NumberedSource(3, bad=(1,)), on_bad_annotation="skip")
    with pytest.raises(BadImageError, match="number_1"):
        loader.evaluate(1)


@pytest.mark.parametrize(
    "crop", ["resize", "random_resized", "pad", "letterbox", "scale_jitter"]
)
@pytest.mark.parametrize("targets", [LABEL, ("boxes",), BOTH, (*LABEL, *BOTH)])
def test_every_crop_serves_every_task(crop, targets):
    changes = dict(crop=crop, randaugment_layers=2, color_jitter=0.3)
    loader = _loader([example(label=3)], targets=targets, **changes)
    types = _types(_train(loader, 0)) | {"index": ((), "int32")}
    assert types == _types(loader.evaluate(0)) == _types(loader.evaluate(1))
    assert types["image"] == ((12, 16, 3), "uint8")
    assert set(targets) <= {key.replace("boxes_xyxy_px", "boxes") for key in types}


def test_rows_are_contiguous_and_depend_on_the_generator_only():
    changes = dict(crop="random_resized", randaugment_layers=2)
    loader = _loader(ListedSource([example()]), targets=BOTH, **changes)
    first, same, other = (_train(loader, 0, seed) for seed in (0, 0, 1))
    for key in first:
        np.testing.assert_array_equal(first[key], same[key])
        assert first[key].flags["C_CONTIGUOUS"]
    assert _loader([example(label=0)]).evaluate(0)["image"].flags["C_CONTIGUOUS"]
    assert (first["image"] != other["image"]).any()


def test_loader_can_be_sent_to_worker_processes():
    loader = _loader([example()], targets=BOTH, crop="scale_jitter")
    sent = pickle.loads(pickle.dumps(loader))
    for key, value in _train(loader, 0).items():
        np.testing.assert_array_equal(_train(sent, 0)[key], value)
