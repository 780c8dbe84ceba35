"""Which files an input stands for, and what is told of those that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from hybrid_jax.data.input_images import InputImages
from hybrid_jax.errors import BadImageError, UserError


@pytest.fixture
def photos(tmp_path):
    """`photos` with a.jpg, b.PNG, deep/a.png, notes.txt; and a hidden file."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, hw in [("a.jpg", (8, 9)), ("b.PNG", (20, 5)), ("deep/a.png", (4, 30))]:
        Image.fromarray(np.full((*hw, 3), 7, np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


def found(*inputs, leave_out):
    return InputImages([str(entry) for entry in inputs], leave_out=leave_out)


def test_folder_stands_for_all_images_below_it(photos):
    images = found(photos, leave_out=photos / "out")
    assert images.names == ["a.jpg", "b.PNG", "deep/a.png"]
    assert images.paths == [photos / name for name in images.names]
    assert images.info.largest_hw == (20, 30)


def test_patterns_and_files_keep_their_order_and_come_once(photos):
    out = photos / "out"
    images = found(photos / "deep/a.png", photos / "*", photos / "a.jpg", leave_out=out)
    assert images.names == ["a.png", "a.jpg", "b.PNG"]
    images = found(photos / "**/a.*", leave_out=out)
    assert images.paths == [photos / "a.jpg", photos / "deep/a.png"]


def test_output_is_no_input(photos):
    assert found(photos, leave_out=photos / "deep").names == ["a.jpg", "b.PNG"]
    named = found(photos / "deep/a.png", leave_out=photos / "deep")
    assert named.names == ["a.png"]  # asked for by itself


@pytest.mark.parametrize("targets", ["boxes_xyxy_px", "box_labels"])
def test_example_has_no_targets(photos, targets):
    example = found(photos, leave_out=photos / "out")[1]
    assert example["image"].shape == (20, 5, 3)
    assert (example["image"] == 7).all()
    assert len(example[targets]) == 0
    assert example["segmentation"].shape == (20, 5)
    assert (example["segmentation"] == 255).all()


def test_unreadable_file_is_remembered_with_its_reason(photos):
    whole = (photos / "b.PNG").read_bytes()
    (photos / "b.PNG").write_bytes(whole[: len(whole) // 2])
    images = found(photos, photos / "notes.txt", leave_out=photos / "out")
    for index in (1, 3):
        with pytest.raises(BadImageError):
            images[index]
    assert set(images.unreadable) == {1, 3}
    assert "cannot identify image file" in images.unreadable[3]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], r"expected --input=PATH\[,PATH...\] with image files"),
        (["nowhere.jpg"], "there is no file or folder 'nowhere.jpg'"),
        (["nowhere*.jpg"], r"expected images \(.jpg .*'nowhere\*.jpg', found none"),
        (["."], "expected images .* for '.', found none"),
    ],
)
def test_input_that_stands_for_nothing_is_a_mistake(tmp_path, monkeypatch, inputs, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        InputImages(inputs, leave_out=tmp_path / "out")
