"""Masks from COCO's outlines against pycocotools, and what can be wrong with outlines."""

import json
import pickle

import numpy as np
import pycocotools.mask
import pytest
from data_examples import data_config
from dense_examples import write_image
from pycocotools.coco import COCO

from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, UserError

_CATEGORIES = [dict(id=90, name="dog"), dict(id=4, name="cat")]
_SQUARE = [[5, 5, 15, 5, 15, 15, 5, 15]]


def _runs(mask: np.ndarray, *, compressed: bool) -> dict:
    if compressed:
        runs = pycocotools.mask.encode(np.asfortranarray(mask))
        return dict(size=list(mask.shape), counts=runs["counts"].decode())
    column = np.concatenate([[0], mask.ravel(order="F"), [2]])
    ends = np.flatnonzero(np.diff(column))
    counts = np.diff(np.concatenate([[0], ends]))
    return dict(size=list(mask.shape), counts=counts.tolist())


def _write(root, annotations, *, categories=_CATEGORIES, size=(20, 30)):
    """Writes two images and returns the train split of the json."""
    sides = dict(zip(("height", "width"), size or (), strict=False))
    images = [dict(id=i, file_name=f"{i}.png", **sides) for i in (3, 7)]
    for image in images:
        write_image(root / "images" / image["file_name"])
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / "train.json").write_text(json.dumps(content))
    return open_source(f"coco_seg:{root}/images,{root}/{{split}}.json", split="train")


def _one(segmentation, **changes):
    return dict(id=8, image_id=3, category_id=4, segmentation=segmentation) | changes


def _random_annotations():
    """Returns polygons, of which some reach out of the image, and run lengths."""
    rng = np.random.default_rng(0)
    blob = np.zeros((20, 30), np.uint8)
    blob[4:17, 3:9] = rng.integers(0, 2, (13, 6))
    dense = rng.integers(0, 2, (20, 30)).astype(np.uint8)
    outlines = [
        *([rng.uniform(-4, 30, 2 * n).tolist()] for n in (3, 4, 7)),
        [rng.uniform(0, 12, 8).tolist(), rng.uniform(12, 20, 6).tolist()],
        _runs(blob, compressed=True),
        _runs(dense, compressed=False),
    ]
    return [
        _one(outline, id=i + 1, image_id=image, category_id=(90, 4)[i % 2])
        for image in (3, 7)
        for i, outline in enumerate(outlines, 10 * image)
    ]


def test_masks_are_what_pycocotools_draws(tmp_path):
    source = _write(tmp_path, _random_annotations())
    coco = COCO(tmp_path / "train.json")
    assert source.info.segmentation_names == ("background", "cat", "dog")
    assert source.info.largest_hw == (20, 30)
    for index, image_id in enumerate((3, 7)):
        objects = coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))
        drawn = [(coco.annToMask(one), one["category_id"]) for one in objects]
        expected = np.zeros((20, 30), np.uint8)
        for mask, category in sorted(drawn, key=lambda pair: -int(pair[0].sum())):
            expected[mask == 1] = {4: 1, 90: 2}[category]
        assert set(np.unique(expected)) == {0, 1, 2}
        read = source[index]
        assert read["image_id"] == image_id
        assert read["segmentation"].dtype == np.uint8
        np.testing.assert_array_equal(read["segmentation"], expected)


@pytest.mark.parametrize("smaller_first", [True, False])
def test_smaller_lies_on_larger_and_crowds_are_void(tmp_path, smaller_first):
    large = _one([[0, 0, 30, 0, 30, 20, 0, 20]], id=1, category_id=90)
    crowd = _one(_SQUARE, id=2, iscrowd=1)
    small = _one([[7, 7, 12, 7, 12, 12, 7, 12]], id=3)
    annotations = [small, crowd, large] if smaller_first else [large, crowd, small]
    mask = _write(tmp_path, annotations)[0]["segmentation"]
    assert [mask[1, 1], mask[6, 6], mask[9, 9]] == [2, 255, 1]


def test_image_without_annotations_is_background(tmp_path):
    source = _write(tmp_path, [_one(_SQUARE)])
    np.testing.assert_array_equal(source[1]["segmentation"], np.zeros((20, 30)))


def test_category_called_background_is_class_0(tmp_path):
    categories = [dict(id=1, name="cat"), dict(id=2, name="Background")]
    crossed = _one([[7, 7, 12, 7, 12, 12, 7, 12]], id=9, category_id=2)
    source = _write(
        tmp_path, [_one(_SQUARE, category_id=1), crossed], categories=categories
    )
    assert source.info.segmentation_names == ("background", "cat")
    mask = source[0]["segmentation"]
    assert [mask[1, 1], mask[6, 6], mask[9, 9]] == [0, 1, 0]


def test_annotations_are_the_example_without_its_image(tmp_path):
    source = pickle.loads(pickle.dumps(_write(tmp_path, [_one(_SQUARE)])))
    for index in range(2):
        read, known = source[index], source.annotations(index)
        assert known.pop("original_hw") == read.pop("image").shape[:2]
        np.testing.assert_equal(known, read)


def test_other_splits_are_mapped_by_the_names_of_categories(tmp_path):
    _write(tmp_path, [_one(_SQUARE)])
    content = json.loads((tmp_path / "train.json").read_text())
    content["categories"] = [dict(id=1, name="dog")]
    content["annotations"] = [_one(_SQUARE, category_id=1)]
    (tmp_path / "val.json").write_text(json.dumps(content))
    name = f"coco_seg:{tmp_path}/images,{tmp_path}/{{split}}.json"
    source = open_source(name, split="validation")
    assert source.info.segmentation_names == ("background", "cat", "dog")
    assert set(np.unique(source[0]["segmentation"])) == {0, 2}


def test_sizes_come_from_the_images_where_the_file_has_none(tmp_path):
    source = _write(tmp_path, [_one(_SQUARE)], size=None)
    assert source.info.largest_hw == (20, 30)


_FAULTS = {
    "none": (None, "its segmentation is None"),
    "empty": ([], r"its segmentation is \[\]"),
    "flat": ([5, 5, 9, 5, 9, 9], "the polygon 5; expected a list"),
    "two points": ([[5, 5, 9, 9]], "at least three points"),
    "odd": ([[5, 5, 9, 5, 9, 9, 5]], "at least three points"),
    "text": ([[5, 5, 9, 5, 9, "9"]], "at least three points"),
    "not finite": ([[5, 5, 9, 5, 9, float("nan")]], "at least three points"),
    "shares": ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], "shares of the sides"),
    "outside": ([[40, 5, 50, 5, 50, 9]], "outside the image of 20x30 px"),
    "far": ([[5, 5, 1e9, 5, 9, 9]], "outside the image of 20x30 px"),
    "too long": (dict(size=[20, 30], counts=[0, 601]), "exceed h.w=600"),
    "negative": (dict(size=[20, 30], counts=[5, -7]), "run lengths cannot be read"),
    "no runs": (dict(size=[20, 30]), "run lengths cannot be read"),
    "no size": (dict(counts=[0, 600]), "run lengths have the size None"),
    "damaged": (dict(size=[20, 30], counts="\xff~"), "run lengths cannot be read"),
    "of others": (dict(size=[30, 20], counts=[0, 600]), "30x20 px in an image of 20x30"),
}


@pytest.mark.parametrize("kind", _FAULTS)
def test_faulty_outline_is_named(tmp_path, kind):
    segmentation, fault = _FAULTS[kind]
    good = _one(_SQUARE, id=9, image_id=7)
    source = _write(tmp_path, [_one(segmentation), good])
    with pytest.raises(BadAnnotationError, match=f"3.png: the annotation of id 8.*{fault}"):
        source[0]
    assert source[1]["segmentation"].any()


def test_unknown_category_is_named(tmp_path):
    source = _write(tmp_path, [_one(_SQUARE, category_id=5)])
    with pytest.raises(BadAnnotationError, match="id 8 has a category_id that is not"):
        source[0]


def test_annotation_without_an_image_spoils_no_other(tmp_path):
    lost = _one(_SQUARE, id=9, image_id=5)
    small = [[20, 2, 25, 2, 25, 6]]
    source = _write(tmp_path, [lost, _one(small)])
    with pytest.raises(BadAnnotationError, match="id 9 belongs to the image 5"):
        CheckedSource(source, skip=False)
    mask = CheckedSource(source, skip=True)[0]["segmentation"]
    assert not mask[10, 10]
    assert mask[3, 24]


def test_size_that_contradicts_the_image_is_refused(tmp_path):
    source = _write(tmp_path, [_one(_SQUARE)], size=(30, 20))
    with pytest.raises(BadAnnotationError, match="id 3 is said to be 30x20 px"):
        source[0]


def test_boxes_alone_lead_to_coco(tmp_path):
    annotations = [dict(id=1, image_id=3, category_id=4, bbox=[1, 2, 9, 9])]
    with pytest.raises(UserError, match="not one of 1 annotations has.*take coco="):
        _write(tmp_path, annotations)


def test_more_classes_than_bytes_are_refused(tmp_path):
    categories = [dict(id=i, name=f"c{i}") for i in range(255)]
    with pytest.raises(UserError, match="at most 254 categories.* got 255"):
        _write(tmp_path, [], categories=categories)


def test_batches_have_masks_and_skip_what_cannot_be_drawn(tmp_path):
    source = _write(tmp_path, [_one(_SQUARE), _one([], id=9, image_id=7)])
    data = data_config(on_bad_annotation="skip")
    batches = eval_batches(source, data=data, batch_size=2, targets=("segmentation",))
    (batch,) = batches
    assert batch["mask"].tolist() == [True, False]
    assert set(np.unique(batch["segmentation"][0])) == {0, 1, 255}
