"""TFDS without labels: made like coco, voc, scene_parse150 and cityscapes."""

import io
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from hybrid_jax.data.formats.classes.cityscapes import CLASSES, scored_classes
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadImageError


def _png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def _ids(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 34, (6, 8), np.uint8)


def _image(**options):
    return tfds.features.Image(encoding_format="png", **options)


class _Dense(tfds.core.GeneratorBasedBuilder):
    """Four examples; subclasses say of what."""

    VERSION = tfds.core.Version("1.0.0")
    features: dict

    def _info(self):
        features = tfds.features.FeaturesDict(self.features)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "validation": self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            image = np.full((6, 8, 3), i, np.uint8)
            yield i, {self.image_key: _png(image), **self.targets(i)}

    image_key = "image"

    def targets(self, i):
        raise NotImplementedError


class Coco(_Dense):
    """Example i has i boxes, the first of them a crowd."""

    features = {
        "image": _image(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(
            {
                "id": np.int64,
                "area": np.int64,
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(num_classes=80),
                "is_crowd": np.bool_,
            }
        ),
    }

    def targets(self, i):
        box = tfds.features.BBox(ymin=0.5, xmin=0.25, ymax=1.0, xmax=0.75)
        objects = [
            dict(id=100 + n, area=9, bbox=box, label=n, is_crowd=n == 0) for n in range(i)
        ]
        return {"image/id": 50 + i, "objects": objects}


class Voc(_Dense):
    """One box without a class, difficult."""

    features = {
        "image": _image(),
        "image/filename": tfds.features.Text(),
        "objects": tfds.features.Sequence(
            {"bbox": tfds.features.BBoxFeature(), "is_difficult": np.bool_}
        ),
    }

    def targets(self, i):
        box = tfds.features.BBox(ymin=0.0, xmin=0.0, ymax=0.5, xmax=0.5)
        objects = [dict(bbox=box, is_difficult=True)]
        return {"image/filename": f"{i}.jpg", "objects": objects}


class SceneParse150(_Dense):
    """Masks whose feature does not say that they have one channel."""

    features = {"image": _image(), "annotation": _image()}

    def targets(self, i):
        return {"annotation": _png(_ids(i))}


class Cityscapes(_Dense):
    """The image of the left camera, and masks of label ids."""

    image_key = "image_left"
    features = {
        "image_id": tfds.features.Text(),
        "image_left": _image(shape=(6, 8, 3)),
        "segmentation_label": _image(shape=(6, 8, 1)),
    }

    def targets(self, i):
        return {"image_id": f"city_{i}", "segmentation_label": _png(_ids(i))}


class UnnamedMasks(_Dense):
    """Masks of ids that nothing explains."""

    features = {"image": _image(), "mask": _image(shape=(None, None, 1))}

    def targets(self, i):
        return {"mask": _png(np.where(_ids(i) > 16, 255, _ids(i)).astype(np.uint8))}


class ColoredMasks(_Dense):
    """Masks of colors."""

    features = {"image": _image(), "annotation": _image()}

    def targets(self, i):
        colors = np.random.default_rng(i).integers(0, 256, (6, 8, 3), np.uint8)
        return {"annotation": _png(colors)}


class NamedMasks(_Dense):
    """Masks whose feature names the classes."""

    features = {
        "image": _image(),
        "segmentation": tfds.features.LabeledImage(
            labels=["sky", "sea"], shape=(None, None, 1), encoding_format="png"
        ),
    }

    def targets(self, i):
        return {"segmentation": _png(_ids(i) % 2)}


@pytest.fixture
def prepare(own_data_folder):
    def prepare(builder_cls):
        builder = builder_cls(data_dir=own_data_folder / "tfds", file_format="array_record")
        builder.download_and_prepare(file_format="array_record")
        source = open_source(f"tfds:{builder.name}", split="validation")
        return source, sorted(
            (source[i] for i in range(4)), key=lambda e: e["image"][0, 0, 0]
        )

    return prepare


def test_boxes_of_coco(prepare):
    source, examples = prepare(Coco)
    assert source.info.num_classes == 0
    assert len(source.info.box_names) == len(source.info.box_category_ids) == 80
    assert source.info.box_category_ids[:12] == (*range(1, 12), 13)  # 12 is not used
    assert source.info.box_category_ids[-1] == 90
    assert [e["image_id"] for e in examples] == [50, 51, 52, 53]
    assert [len(e["boxes_xyxy_px"]) for e in examples] == [0, 1, 2, 3]
    last = examples[-1]
    assert last["boxes_xyxy_px"].tolist() == [[2, 3, 6, 6]] * 3
    assert last["box_labels"].tolist() == [0, 1, 2]
    assert last["box_crowd"].tolist() == [True, False, False]
    assert last["box_ids"].tolist() == [100, 101, 102]
    assert last["box_areas_px"].tolist() == [9.0] * 3
    types = {k: v.dtype.name for k, v in examples[0].items() if k.startswith("box")}
    assert types == {k: v.dtype.name for k, v in last.items() if k.startswith("box")}


@pytest.mark.parametrize("kind", [Coco, Voc, SceneParse150, Cityscapes])
def test_annotations_are_known_without_decoding_the_image(prepare, monkeypatch, kind):
    source, _ = prepare(kind)
    expected = [source[i] for i in range(4)]
    decode, decoded = tfds.features.Image.decode_example_np, []

    def counting(feature, stored):
        decoded.append(feature)
        return decode(feature, stored)

    monkeypatch.setattr(tfds.features.Image, "decode_example_np", counting)
    for i, example in enumerate(expected):
        image = example.pop("image")
        read = source.annotations(i)
        assert read.pop("original_hw") == image.shape[:2]
        np.testing.assert_equal(read, example)
    assert len(decoded) == sum("segmentation" in example for example in expected)


def test_boxes_without_classes_are_of_one(prepare):
    source, examples = prepare(Voc)
    assert source.info.box_names == ("object",)
    assert examples[1]["image_id"] == "1.jpg"
    assert examples[1]["box_labels"].tolist() == [0]
    assert examples[1]["box_crowd"].tolist() == [True]


def test_masks_of_scene_parse150(prepare):
    source, examples = prepare(SceneParse150)
    assert len(source.info.segmentation_names) == 151
    assert source.info.largest_hw is None
    for i, read in enumerate(examples):
        np.testing.assert_array_equal(read["segmentation"], _ids(i))


def test_masks_of_cityscapes_have_the_scored_classes(prepare):
    source, examples = prepare(Cityscapes)
    assert source.info.segmentation_names == CLASSES
    assert source.info.largest_hw == (6, 8)
    assert [e["image_id"] for e in examples] == [f"city_{i}" for i in range(4)]
    for i, read in enumerate(examples):
        np.testing.assert_array_equal(read["segmentation"], scored_classes(_ids(i)))


def test_scored_classes_of_cityscapes():
    classes = scored_classes(np.arange(256, dtype=np.uint8).reshape(16, 16)).ravel()
    assert CLASSES[classes[7]] == "road"
    assert CLASSES[classes[26]] == "car"
    assert CLASSES[classes[33]] == "bicycle"
    assert sorted(classes[classes != 255]) == list(range(19))
    assert (classes[[0, 1, 9, 14, 29, 34, 255]] == 255).all()


def test_named_masks_give_their_names(prepare):
    source, examples = prepare(NamedMasks)
    assert source.info.segmentation_names == ("sky", "sea")
    np.testing.assert_array_equal(examples[3]["segmentation"], _ids(3) % 2)


def test_unnamed_masks_are_looked_at(prepare):
    source, _ = prepare(UnnamedMasks)
    largest = max(int(ids[ids <= 16].max()) for ids in map(_ids, range(4)))
    assert source.info.segmentation_names == tuple(str(i) for i in range(largest + 1))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(source))[0]["segmentation"], source[0]["segmentation"]
    )


def test_masks_of_colors_are_refused(prepare):
    with pytest.raises((BadImageError, ValueError), match="colors instead of class ids"):
        prepare(ColoredMasks)


class RareMasks(_Dense):
    """A class that one mask of many holds, and none of the first."""

    features = {"image": _image(), "mask": _image(shape=(None, None, 1))}
    count = 301

    def _generate_examples(self):
        for i in range(self.count):
            mask = np.full((6, 8), 7 if i == 250 else i % 2, np.uint8)
            yield i, {"image": _png(np.zeros((6, 8, 3), np.uint8)), "mask": _png(mask)}


class BinaryMasks(RareMasks):
    """Pictures in black and white."""

    count = 4

    def _generate_examples(self):
        for i in range(self.count):
            mask = np.full((6, 8), 255 * (i % 2), np.uint8)
            yield i, {"image": _png(np.full((6, 8, 3), i, np.uint8)), "mask": _png(mask)}


def test_every_mask_is_read_for_its_ids_and_the_answer_is_kept(
    prepare, tmp_path, monkeypatch
):
    monkeypatch.setenv("HJ_MASK_IDS", str(tmp_path / "kept"))
    source, _ = prepare(RareMasks)
    assert source.info.segmentation_names == tuple("01234567")
    assert "no mask of training holds 5 of the ids 0 to 7" in source.info.notes[0]
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_text("[0, 1]")
    again = open_source("tfds:rare_masks", split="train")
    assert again.info.segmentation_names == ("0", "1")


def test_black_and_white_masks_are_of_two_classes(prepare):
    source, examples = prepare(BinaryMasks)
    assert source.info.segmentation_names == ("0", "1")
    assert "255 is the class 1" in source.info.notes[0]
    found = [set(example["segmentation"].ravel().tolist()) for example in examples]
    assert found == [{0}, {1}, {0}, {1}]
