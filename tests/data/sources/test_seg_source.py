"""`seg:` and `voc_seg:`, whose masks are files of ids."""

import pickle

import numpy as np
import pytest
from data_examples import data_config, random_image, truncate
from dense_examples import write_image, write_mask
from PIL import Image

from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.formats.voc.folders import CLASSES
from hybrid_jax.data.sources import open_source, open_split
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


def _ids(seed: int, *, hw=(20, 30), classes=4) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(0, classes, hw, np.uint8)
    ids[0] = 255
    return ids


def _write(root, names, *, images="images", masks="masks", **options) -> str:
    for seed, name in enumerate(names):
        write_image(root / images / f"{name}.jpg", seed=seed)
        write_mask(root / masks / f"{name}.png", _ids(seed, **options))
    return f"seg:{root}/images,{root}/masks"


@pytest.fixture
def name(tmp_path):
    """Two training images and one of validation, the masks of which have four ids."""
    _write(tmp_path, ["val/a"], hw=(40, 10))
    write_image(tmp_path / "images/val/a.jpg", hw=(40, 10))
    return _write(tmp_path, ["training/b", "training/deep/a"])


def test_examples_hold_ids_as_they_are_stored(name):
    source = open_source(name, split="train")
    assert len(source) == 2
    assert source.info.segmentation_names == ("0", "1", "2", "3")
    for index, image_id in enumerate(("b", "deep/a")):
        read = source[index]
        assert read["image_id"] == image_id
        assert read["image"].shape == (20, 30, 3)
        assert read["segmentation"].dtype == np.uint8
        np.testing.assert_array_equal(read["segmentation"], _ids(index))
        assert read["where"].endswith(f"masks/training/{image_id}.png")


def test_no_image_of_any_split_exceeds_the_largest(name):
    for split in ("train", "validation"):
        assert open_source(name, split=split).info.largest_hw == (40, 30)


def test_annotations_are_the_example_without_its_image(name):
    source = open_source(name, split="validation")
    read, known = source[0], source.annotations(0)
    assert known.pop("original_hw") == read.pop("image").shape[:2] == (40, 10)
    assert known.keys() == read.keys()
    np.testing.assert_array_equal(known["segmentation"], read["segmentation"])


def test_split_may_stand_anywhere(name, tmp_path):
    (tmp_path / "images").rename(tmp_path / "photos_training")
    (tmp_path / "photos_training/training").rename(tmp_path / "photos_training/all")
    location = f"{tmp_path}/photos_{{split}}/all,{tmp_path}/masks/{{split}}"
    source = open_source(f"seg:{location}", split="train")
    assert [source[i]["image_id"] for i in range(2)] == ["b", "deep/a"]


def test_names_may_be_patterns(tmp_path):
    for seed, city in enumerate(("aachen", "bonn")):
        write_image(tmp_path / f"left/train/{city}/{city}_0_left.png", seed=seed)
        for kind, change in (("labelIds", 0), ("color", 1)):
            path = tmp_path / f"fine/train/{city}/{city}_0_fine_{kind}.png"
            write_mask(path, _ids(seed) + np.uint8(change))
    images, masks = "left/{split}/*_left.png", "fine/{split}/*_fine_labelIds.png"
    source = open_source(f"seg:{tmp_path}/{images},{tmp_path}/{masks}", split="train")
    assert [source[i]["image_id"] for i in range(2)] == ["aachen/aachen_0", "bonn/bonn_0"]
    np.testing.assert_array_equal(source[1]["segmentation"], _ids(1))


def test_one_folder_is_shared_out(tmp_path):
    name = _write(tmp_path, [f"{i:02d}" for i in range(20)])
    splits = [open_source(name, split=s) for s in ("train", "validation", "test")]
    assert [len(source) for source in splits] == [16, 2, 2]
    assert len({s[i]["image_id"] for s in splits for i in range(len(s))}) == 20
    with pytest.raises(UserError, match="unknown split 'dev'"):
        open_source(name, split="dev")


@pytest.mark.parametrize("place", ["masks/classes.txt", "classes.txt"])
def test_listed_classes_come_first(name, tmp_path, place):
    (tmp_path / place).write_text("sky\nsea\n\nsand \nrock\nbird\n")
    names = open_source(name, split="train").info.segmentation_names
    assert names == ("sky", "sea", "sand", "rock", "bird")


@pytest.mark.parametrize(("text", "count"), [("", 0), ("x\n" * 256, 256)])
def test_list_of_no_or_too_many_classes_is_refused(name, tmp_path, text, count):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=f"classes.txt: expected 1 to 255 .* got {count}"):
        open_source(name, split="train")


def test_ids_beyond_the_classes_are_named_or_void(name, tmp_path):
    (tmp_path / "classes.txt").write_text("sky\nsea\nsand\n")
    source = open_source(name, split="train")
    with pytest.raises(BadAnnotationError, match="training/b.png': .* id 3, .* 0 to 2"):
        CheckedSource(source, skip=False)[0]
    kept = CheckedSource(source, skip=True)[0]
    assert kept["faulty"] == 1
    expected = np.where(_ids(0) == 3, 255, _ids(0))
    np.testing.assert_array_equal(kept["segmentation"], expected)


def test_mask_of_another_size_is_named_or_void(name, tmp_path):
    write_mask(tmp_path / "masks/training/b.png", _ids(0, hw=(20, 31)))
    source = open_source(name, split="train")
    for read in ("__getitem__", "annotations"):
        with pytest.raises(BadAnnotationError, match="training/b.png': .* 20x31 .* 20x30"):
            getattr(CheckedSource(source, skip=False), read)(0)
        kept = getattr(CheckedSource(source, skip=True), read)(0)
        assert kept["faulty"] == 1
        assert (kept["segmentation"] == 255).all()


def test_masks_of_colors_are_refused(name, tmp_path):
    Image.fromarray(random_image()).save(tmp_path / "masks/training/b.png")
    source = open_source(name, split="train")
    assert source.info.segmentation_names == ("0", "1", "2", "3")
    for read in (source.__getitem__, source.annotations):
        with pytest.raises(BadAnnotationError, match="training/b.png': .* mode 'RGB'"):
            read(0)


def test_image_without_mask_is_named_or_skipped(name, tmp_path):
    (tmp_path / "masks/training/b.png").unlink()
    source = open_source(name, split="train")
    message = "1 of 2 images have no mask .*masks/training, .*training/b.jpg"
    with pytest.raises(BadAnnotationError, match=message):
        CheckedSource(source, skip=False)
    kept = CheckedSource(source, skip=True)
    for read in (kept.__getitem__, kept.annotations):
        with pytest.raises(BadAnnotationError, match="have no mask .*training/b.jpg"):
            read(0)
        assert read(1)["image_id"] == "deep/a"
    assert CheckedSource(open_source(name, split="validation"), skip=False)


def test_folder_of_other_masks_is_refused(name, tmp_path):
    (tmp_path / "masks/training/b.png").unlink()
    (tmp_path / "masks/training/deep").rename(tmp_path / "masks/training/deeper")
    with pytest.raises(UserError, match="2 of 2 images have no mask .*masks/training,"):
        open_source(name, split="train")


def test_images_of_one_name_are_refused(name, tmp_path):
    write_image(tmp_path / "images/training/b.png")
    with pytest.raises(UserError, match="b.jpg and .*b.png differ by their extension"):
        open_source(name, split="train")


def test_torn_files_are_named(name, tmp_path):
    truncate(tmp_path / "images/training/b.jpg")
    truncate(tmp_path / "masks/training/deep/a.png")
    source = open_source(name, split="train")
    for index, file in enumerate(("images/training/b.jpg", "masks/training/deep/a.png")):
        with pytest.raises(BadImageError, match=file):
            source[index]


def test_missing_folders_and_splits_are_named(name, tmp_path):
    with pytest.raises(UserError, match="split 'test' needs .*images/test or"):
        open_source(name, split="test")
    with pytest.raises(UserError, match="needs /nowhere"):
        open_source("seg:/nowhere,/nowhere", split="train")
    (tmp_path / "images/test").mkdir()
    (tmp_path / "masks/test").mkdir()
    with pytest.raises(UserError, match="split 'test' has no images"):
        open_source(name, split="test")


def _write_voc(root, lists) -> str:
    for seed, image_id in enumerate(("a", "b", "c")):
        write_image(root / f"JPEGImages/{image_id}.jpg", seed=seed)
        ids = _ids(seed, classes=21)
        write_mask(root / f"SegmentationClass/{image_id}.png", ids)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for split, text in lists.items():
        (root / f"ImageSets/Segmentation/{split}.txt").write_text(text)
    return f"voc_seg:{root}"


def test_voc_masks_are_palette_indices(tmp_path):
    name = _write_voc(tmp_path, {"train": "c\na\n", "val": "b\n"})
    source = open_source(name, split="train")
    assert source.info.segmentation_names == ("background", *CLASSES)
    assert source.info.largest_hw == (20, 30)
    assert [source[i]["image_id"] for i in range(2)] == ["c", "a"]
    np.testing.assert_array_equal(source[0]["segmentation"], _ids(2, classes=21))
    held_out = open_source(name, split="validation")
    assert held_out.annotations(0)["original_hw"] == (20, 30)
    assert len(held_out) == 1


def test_voc_masks_may_have_other_classes(tmp_path):
    name = _write_voc(tmp_path, {"train": "a"})
    (tmp_path / "classes.txt").write_text("ground\ncell\n")
    info = open_source(name, split="train").info
    assert info.segmentation_names == ("ground", "cell")


def test_export_of_labelme_is_read(tmp_path):
    """Arrays in SegmentationClass, masks beside them, and names in another file."""
    name = _write_voc(tmp_path, {"train": "a", "val": "b"})
    (tmp_path / "SegmentationClass").rename(tmp_path / "SegmentationClassPNG")
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "SegmentationClass/a.npy").touch()
    names = ["_background_", *CLASSES]
    (tmp_path / "class_names.txt").write_text("\n".join(names))
    source = open_source(name, split="train")
    assert source.info.segmentation_names == tuple(names)
    np.testing.assert_array_equal(source[0]["segmentation"], _ids(0, classes=21))


def test_sources_can_be_sent_to_worker_processes(name, tmp_path):
    for source_name in (name, _write_voc(tmp_path, {"train": "a"})):
        source = open_source(source_name, split="train")
        sent = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(sent[0]["segmentation"], source[0]["segmentation"])


@pytest.mark.parametrize("folders", [("val", "test"), ("train2017", "val2017")])
def test_folders_that_look_like_splits_are_not_split_anew(tmp_path, folders):
    for folder in folders:
        write_image(tmp_path / f"images/{folder}/a.png")
        write_mask(tmp_path / f"masks/{folder}/a.png", _ids(0))
    name = f"seg:{tmp_path}/images,{tmp_path}/masks"
    with pytest.raises(UserError, match="got none, and all images would be split anew"):
        open_source(name, split="train")


@pytest.mark.parametrize(
    ("kind", "said"), [("jpg", "0.jpg, whose compression changes"), ("npy", "0.npy, which")]
)
def test_masks_in_files_of_other_kinds_are_said(tmp_path, kind, said):
    write_image(tmp_path / "images/train/0.png")
    (tmp_path / "masks/train").mkdir(parents=True)
    (tmp_path / f"masks/train/0.{kind}").touch()
    with pytest.raises(UserError, match=rf"1 of 1 images have no mask.*There is {said}"):
        open_source(f"seg:{tmp_path}/images,{tmp_path}/masks", split="train")


def test_masks_of_one_class_are_said(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / f"images/{split}/0.png")
        write_mask(tmp_path / f"masks/{split}/0.png", np.zeros((20, 30), np.uint8))
    config = data_config(name=f"seg:{tmp_path}/images,{tmp_path}/masks")
    assert "one class only, '0'" in open_split(config, split="train").info.notes[-1]
