import io
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadImageError, UserError

NUM_EXAMPLES = {"train": 20, "test": 5}


def _png(seed: int, *, channels: int) -> bytes:
    shape = (6, 8) if channels == 1 else (6, 8, channels)
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


class _Pictures(tfds.core.GeneratorBasedBuilder):
    """Example i has the label i % 3 and i % 2 boxes."""

    VERSION = tfds.core.Version("1.0.0")
    splits = ("train", "test")
    channels = 3
    label_key, objects_key = "label", "objects"

    def _info(self):
        features = {
            "image": tfds.features.Image(
                shape=(None, None, self.channels), encoding_format="png"
            ),
            self.label_key: tfds.features.ClassLabel(names=["x", "y", "z"]),
            self.objects_key: tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(num_classes=2),
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.splits}

    def _generate_examples(self, split):
        box = tfds.features.BBox(ymin=0.5, xmin=0.25, ymax=1.0, xmax=0.75)
        for i in range(NUM_EXAMPLES.get(split, 4)):
            yield (
                i,
                {
                    "image": _png(i, channels=self.channels),
                    self.label_key: i % 3,
                    self.objects_key: [{"bbox": box, "label": 1}] * (i % 2),
                },
            )


class TwoSplitPictures(_Pictures):
    """Has no validation split, like CIFAR-10."""


class ThreeSplitPictures(_Pictures):
    """Has all splits."""

    splits = ("train", "validation", "test")


class NoTestPictures(_Pictures):
    """Has no test split."""

    splits = ("train", "validation")


class SecretTestPictures(_Pictures):
    """Has no labels in its test split, like imagenet2012."""

    splits = ("train", "validation", "test")

    def _generate_examples(self, split):
        for i, example in super()._generate_examples(split):
            yield i, example | ({"label": -1} if split == "test" else {})


class GrayPictures(_Pictures):
    """Has one channel."""

    channels = 1


class UnlabeledPictures(_Pictures):
    """Calls its label and its objects something else."""

    label_key, objects_key = "species", "things"


@pytest.fixture
def prepare(own_data_folder):
    def prepare(builder_cls):
        builder = builder_cls(data_dir=own_data_folder / "tfds", file_format="array_record")
        builder.download_and_prepare(file_format="array_record")
        return builder

    return prepare


def test_examples_hold_images_labels_and_boxes(prepare):
    prepare(ThreeSplitPictures)
    source = open_source("tfds:three_split_pictures", split="train")
    assert len(source) == 20
    assert source.info.class_names == ("x", "y", "z")
    examples = [source[i] for i in range(20)]
    assert all(type(e["label"]) is int for e in examples)
    assert sorted(e["label"] for e in examples) == [0] * 7 + [1] * 7 + [2] * 6
    assert all(e["image"].shape == (6, 8, 3) for e in examples)
    boxes = [e["boxes_xyxy_px"] for e in examples]
    assert sorted(b.shape for b in boxes) == [(0, 4)] * 10 + [(1, 4)] * 10
    assert next(b for b in boxes if len(b)).tolist() == [[2, 3, 6, 6]]
    assert {e["box_labels"].dtype for e in examples} == {np.dtype(np.int32)}
    assert source.info.box_names == ("0", "1")


def test_gray_images_get_three_channels(prepare):
    prepare(GrayPictures)
    image = open_source("tfds:gray_pictures:1.0.0", split="test")[0]["image"]
    assert image.shape == (6, 8, 3)
    assert (image == image[..., :1]).all()


def test_missing_validation_is_the_end_of_train(prepare):
    whole = prepare(TwoSplitPictures).as_data_source(split="train")
    splits = {
        name: open_source("tfds:two_split_pictures", split=name)
        for name in ("train", "validation", "test", "train[:100%]", "train[:50%]")
    }
    assert [len(s) for s in splits.values()] == [18, 2, 5, 20, 10]
    for i in range(2):
        np.testing.assert_array_equal(
            splits["validation"][i]["image"], whole[18 + i]["image"]
        )


def test_missing_test_is_validation(prepare):
    prepare(NoTestPictures)
    train, validation, test = (
        open_source("tfds:no_test_pictures", split=s)
        for s in ("train", "validation", "test")
    )
    assert len(train) == 20
    np.testing.assert_array_equal(validation[1]["image"], test[1]["image"])


@pytest.mark.parametrize("split", ["test", "test[:2]"])
def test_split_without_labels_says_what_to_use(prepare, split):
    prepare(SecretTestPictures)
    assert open_source("tfds:secret_test_pictures", split="validation")[0]["label"] >= 0
    expected = (
        r"secret_test_pictures': expected labels from 0 to 2, example 1 of split "
        rf"'{re.escape(split)}' has -1.* Use one that has, such as split 'validation'"
    )
    with pytest.raises(UserError, match=expected) as caught:
        open_source("tfds:secret_test_pictures", split=split)[1]
    assert not isinstance(caught.value, BadImageError)  # or every example were skipped


def test_unknown_split_lists_those_there_are(prepare):
    prepare(TwoSplitPictures)
    with pytest.raises(UserError, match="'dev'.*It has: test, train, validation"):
        open_source("tfds:two_split_pictures", split="dev")


def test_unprepared_data_set_says_how_and_where(own_data_folder):
    with pytest.raises(UserError) as caught:
        open_source("tfds:imagenet2012", split="train")
    for part in (
        str(own_data_folder / "tfds"),
        "`tfds build imagenet2012 --file_format=array_record`",
        "TFDS_DATA_DIR",
    ):
        assert part in str(caught.value)


def test_data_set_without_label_lists_its_features(prepare):
    prepare(UnlabeledPictures)
    with pytest.raises(UserError, match="expected an image and a label.* species, things"):
        open_source("tfds:unlabeled_pictures", split="train")


def test_format_without_random_access_says_what_to_do(prepare):
    builder = prepare(TwoSplitPictures)
    info = builder.data_path / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for path in builder.data_path.glob("*array_record*"):
        path.rename(str(path).replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match="without random access.*=array_record") as caught:
        open_source("tfds:two_split_pictures", split="train")[0]
    assert not isinstance(caught.value, BadImageError)


def test_record_that_cannot_be_decoded_is_named(prepare, monkeypatch):
    prepare(TwoSplitPictures)
    source = open_source("tfds:two_split_pictures", split="train")

    def fail(*args, **kwargs):
        raise OSError("image file is truncated")

    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(BadImageError, match="two_split_pictures': example 3 .*truncated"):
        source[3]
