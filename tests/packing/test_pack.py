"""Packed data gives what the data itself gives, whole or after an interruption."""

import functools
import json
import pickle

import numpy as np
import pytest
from checked_data import WRITERS
from data_examples import data_config, truncate, write_class_folders
from dense_examples import write_image
from PIL import Image

from hybrid_jax.config import changed, defaults
from hybrid_jax.data.pipeline import train_batches
from hybrid_jax.data.reading import reading_as
from hybrid_jax.data.sources import open_source, open_split
from hybrid_jax.data.sources import shapes as shapes_source
from hybrid_jax.errors import BadImageError, UserError
from hybrid_jax.packing.pack import pack
from hybrid_jax.packing.packed_example import Packer
from hybrid_jax.tasks import TASKS

_LEFT = ("faulty", "faults")
OTHERS = [pair for pair in WRITERS if pair[1] != "records"]


def _config(name: str, task: str = "classification", **data):
    keys = {f"data.{key}": value for key, value in data.items()}
    keys |= {"data.image_size": (16, 24), "data.threads": 2}
    return changed(defaults("tiny"), {"data.name": name, "task.name": task, **keys})


def _folder(root, *, train=20) -> str:
    counts = {f"{s}/{c}": n for s, n in dict(train=train, val=3).items() for c in "ab"}
    write_class_folders(root, counts)
    return f"folder:{root}"


def _same(one, other) -> None:
    assert one.keys() - _LEFT == other.keys() - _LEFT
    for key in one.keys() - _LEFT:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)
        assert np.asarray(one[key]).dtype.kind == np.asarray(other[key]).dtype.kind


@pytest.mark.parametrize(("task", "kind"), OTHERS, ids=map("-".join, OTHERS))
def test_examples_and_batches_are_the_same(task, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HYBRID_JAX_DATA", str(tmp_path))
    few = functools.partial(shapes_source.ShapesSource, num_examples=5)
    monkeypatch.setattr(shapes_source, "ShapesSource", few)
    config = _config(WRITERS[task, kind](tmp_path), task)
    counts = pack(config, "", output=str(tmp_path / "out"))
    assert set(counts) == {"train", "validation", "test"}
    packed_data = changed(config.data, {"name": f"records:{tmp_path}/out"})
    for split, count in counts.items():
        original = open_split(config.data, split=split)
        packed = pickle.loads(pickle.dumps(open_split(packed_data, split=split)))
        assert packed.info == original.info
        assert len(packed) == len(original) == count
        for i in (0, count - 1):
            _same(packed[i], original[i])
            if hasattr(original, "annotations"):
                _same(packed.annotations(i), original.annotations(i))
    batches = []
    for data in (config.data, packed_data):
        source = open_split(data, split="train")
        wanted = dict(data=data, targets=TASKS.get(task).targets, batch_size=4, seed=1)
        stream = train_batches(source, **wanted, start_step=0)
        batches.append([next(stream) for _ in range(3)])
        stream.close()
    for one, other in zip(*batches, strict=True):
        _same(one, other)


def test_files_of_images_are_packed_byte_by_byte(tmp_path):
    name = _folder(tmp_path)
    photo = tmp_path / "train/a/000.jpg"
    Image.open(tmp_path / "train/a/000.png").save(photo, exif=_turned())
    (tmp_path / "train/a/000.png").unlink()
    packer = Packer(open_source(name, split="train"), (), data_config(), None)
    assert photo.read_bytes() in packer.record(0)
    pack(_config(name), "", output=str(tmp_path / "out"))
    packed = open_source(f"records:{tmp_path}/out", split="train")
    assert packed[0]["image"].shape == (16, 12, 3)  # upright, as the file says
    assert packed.annotations(0)["original_hw"] == (16, 12)


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_interrupted_packing_goes_on(tmp_path, monkeypatch):
    name, out = _folder(tmp_path), tmp_path / "out"
    monkeypatch.setattr("hybrid_jax.packing.pack.examples_per_shard", lambda packer: 15)
    record = Packer.record

    def torn(packer, index):
        if index == 22:
            raise KeyboardInterrupt
        return record(packer, index)

    monkeypatch.setattr(Packer, "record", torn)
    with pytest.raises(KeyboardInterrupt):
        pack(_config(name), "", output=str(out))
    first = out / "train-00000-of-00003.array_record"
    assert sorted(p.name for p in out.iterdir()) == ["packing.json", first.name]
    with pytest.raises(UserError, match="Packing has not come to its end"):
        open_source(f"records:{out}", split="train")
    modified = first.stat().st_mtime_ns
    (out / "train-00001-of-00003.array_record.77.part").touch()  # of one that was killed
    monkeypatch.setattr(Packer, "record", record)
    with pytest.raises(UserError, match="another packing: max_side was None and is 8"):
        pack(_config(name), "", output=str(out), max_side=8)
    assert pack(_config(name), "", output=str(out)) == {"train": 40, "validation": 6}
    assert first.stat().st_mtime_ns == modified
    assert not list(out.glob("*.part"))
    original, packed = (open_source(one, split="train") for one in (name, f"records:{out}"))
    for i in range(40):
        _same(packed[i] | original[i], original[i])
        _same(original[i] | packed[i], original[i])


def test_what_cannot_be_read_ends_packing_or_is_left_out(tmp_path):
    name = _folder(tmp_path)
    truncate(tmp_path / "train/b/003.png")
    with pytest.raises(BadImageError, match="train/b/003.png"):
        pack(_config(name), "", output=str(tmp_path / "one"))
    config = _config(name, on_bad_image="skip")
    assert pack(config, "", output=str(tmp_path / "two"))["train"] == 39
    assert len(open_source(f"records:{tmp_path}/two", split="train")) == 39


def test_larger_images_are_made_smaller_with_their_boxes(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / f"{split}/0.png", hw=(100, 50))
        content = dict(
            images=[dict(id=0, file_name="0.png", height=100, width=50)],
            annotations=[dict(id=1, image_id=0, category_id=1, bbox=[10, 20, 30, 50])],
            categories=[dict(id=1, name="a")],
        )
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    name = f"coco:{tmp_path}/{{split}},{tmp_path}/{{split}}.json"
    pack(_config(name, "detection"), "", output=str(tmp_path / "out"), max_side=40)
    source = open_source(f"records:{tmp_path}/out", split="train")
    example = source[0]
    assert example["image"].shape == (40, 20, 3)
    np.testing.assert_allclose(example["boxes_xyxy_px"], [[4, 8, 16, 28]], rtol=1e-6)
    np.testing.assert_allclose(example["box_areas_px"], [240], rtol=1e-5)
    assert source.info.largest_hw == (40, 40)


def test_damaged_or_missing_files_are_named(tmp_path):
    name, out = _folder(tmp_path), tmp_path / "out"
    pack(_config(name), "", output=str(out))
    shard = out / "train-00000-of-00001.array_record"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{len(content)} bytes, it has {len(content) - 1}"):
        open_source(f"records:{out}", split="train")
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(BadImageError, match="example 0 of train: it cannot be read"):
        open_source(f"records:{out}", split="train")[0]
    shard.unlink()
    with pytest.raises(UserError, match="train-00000-of-00001.array_record .*not there"):
        open_source(f"records:{out}", split="train")
    with pytest.raises(UserError, match="unknown split 'test'"):
        open_source(f"records:{out}", split="test")
    (out / "dataset.json").write_text('{"format": "other"}')
    with pytest.raises(UserError, match="not what --mode=pack writes"):
        open_source(f"records:{out}", split="train")
    with pytest.raises(UserError, match="Expected a folder that --mode=pack has written"):
        open_source(f"records:{tmp_path}", split="train")


def test_output_is_needed(tmp_path):
    with pytest.raises(UserError, match="expected --output=PATH"):
        pack(_config(_folder(tmp_path)), "", output=None)
    with pytest.raises(UserError, match="--max_side: expected px"):
        pack(_config("digits"), "", output=str(tmp_path), max_side=0)


def test_what_messages_advise_goes_on_with_a_packing(tmp_path, monkeypatch):
    name, out = _folder(tmp_path), str(tmp_path / "out")
    monkeypatch.setattr("hybrid_jax.packing.pack.examples_per_shard", lambda packer: 15)
    truncate(tmp_path / "train/b/003.png")
    with pytest.raises(BadImageError, match=r"config.data.on_bad_image=skip"):
        pack(_config(name), "", output=out)
    assert pack(_config(name, on_bad_image="skip"), "", output=out)["train"] == 39


def test_damaged_remains_of_a_packing_are_named(tmp_path):
    name, out = _folder(tmp_path), tmp_path / "out"
    pack(_config(name), "", output=str(out))
    (out / "train-00000-of-00001.array_record").write_bytes(b"torn")
    with pytest.raises(UserError, match="00001.array_record, of an earlier packing, is d"):
        pack(_config(name), "", output=str(out))
    for text in ("[]", '{"settings": [1], "per_shard": []}'):
        (out / "packing.json").write_text(text)
        with pytest.raises(UserError, match="packing.json is damaged"):
            pack(_config(name), "", output=str(out))


def test_folder_of_something_else_is_left_alone(tmp_path):
    name, run = _folder(tmp_path), tmp_path / "run"
    run.mkdir()
    (run / "dataset.json").write_text("of a run")
    with pytest.raises(UserError, match=r"run holds a dataset.json of something else"):
        pack(_config(name), "", output=str(run))
    assert (run / "dataset.json").read_text() == "of a run"
    with pytest.raises(UserError, match=r"--output: .*000.png cannot be made"):
        pack(_config(name), "", output=str(tmp_path / "train/a/000.png"))


def test_packing_does_not_go_on_with_other_classes(tmp_path):
    name, out = _folder(tmp_path), str(tmp_path / "out")
    pack(_config(name), "", output=out)
    for split in ("train", "val"):
        (tmp_path / split / "a").rename(tmp_path / split / "z")
    with pytest.raises(UserError, match="another packing: classes was"):
        pack(_config(name), "", output=out)


@pytest.mark.parametrize(
    "option", [{"reduce_zero_label": True}, {"label_map": "2:1"}, {"ignore_label": (1,)}]
)
def test_masks_are_not_changed_twice(option, tmp_path):
    config = _config(WRITERS["segmentation", "seg"](tmp_path), "segmentation", **option)
    pack(config, "", output=str(tmp_path / "out"))
    packed = {"name": f"records:{tmp_path}/out"}
    (key,) = option
    with pytest.raises(UserError, match=f"data.{key}: expected .* would change the masks"):
        open_split(changed(config.data, packed), split="train")
    plain = changed(config.data, packed | {key: type(config.data[key])()})
    source, original = (open_split(d, split="train") for d in (plain, config.data))
    assert source.info.segmentation_names == original.info.segmentation_names
    _same(source[0], original[0])


@pytest.mark.parametrize("change", ["image", "name", "annotation", "one more"])
def test_changed_data_is_not_taken_for_what_was_packed(tmp_path, change):
    for split in ("train", "val"):
        write_image(tmp_path / f"data/{split}/0.bmp", hw=(10, 20))
        content = dict(
            images=[dict(id=0, file_name="0.bmp")],
            annotations=[dict(id=1, image_id=0, category_id=1, bbox=[1, 2, 3, 4])],
            categories=[dict(id=1, name="a")],
        )
        (tmp_path / f"data/{split}.json").write_text(json.dumps(content))
    data, out = tmp_path / "data", tmp_path / "data" / "packed"
    config = _config(f"coco:{data}/{{split}},{data}/{{split}}.json", "detection")
    pack(config, "", output=str(out))
    pack(config, "", output=str(out))  # what it wrote among the data is not data
    assert json.loads((out / "dataset.json").read_text())["packed_from"]["listing"]["files"]
    json_file = data / "train.json"
    if change == "image":
        write_image(data / "train/0.bmp", hw=(12, 20))
    elif change == "one more":
        write_image(data / "train/1.bmp", hw=(12, 20))
    elif change == "annotation":
        json_file.write_text(json_file.read_text().replace("[1, 2", "[2, 2"))
    else:
        (data / "train/0.bmp").rename(data / "train/1.bmp")
        json_file.write_text(json_file.read_text().replace("0.bmp", "1.bmp"))
    with pytest.raises(UserError, match=r"packed from other files: 4 files .* --output"):
        pack(config, "", output=str(out))
    (out / "dataset.json").unlink()  # as if it had been interrupted
    with pytest.raises(UserError, match="packed from other files"):
        pack(config, "", output=str(out))
    pack(config, "", output=str(tmp_path / "anew"))


def test_gray_of_12_bits_is_packed_and_read_in_one_range(tmp_path):
    for split in ("train", "val"):
        for label in "ab":
            path = tmp_path / "data" / split / label / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.uint16([[0, 2048, 4095]] * 3)).save(path)
    name, out = f"folder:{tmp_path}/data", str(tmp_path / "out")
    with pytest.raises(UserError, match="nearly black"):
        pack(_config(name), "", output=out)
    pack(_config(name, gray_range=(0, 4095)), "", output=out)
    packed = _config(f"records:{out}", gray_range=(0, 4095)).data
    source = open_split(packed, split="train")
    with reading_as(packed):
        assert source[0]["image"][0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(UserError, match=r"gray_range: expected \(0, 4095\)"):
        open_split(_config(f"records:{out}").data, split="train")
