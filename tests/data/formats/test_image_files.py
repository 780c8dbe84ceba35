import os

import pytest
from PIL import Image

from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.formats.image_files import (
    EXTENSIONS,
    files_below,
    passed_over,
    sorted_files,
)


def _touch(tmp_path, *names: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


def test_what_systems_leave_behind_never_counts(tmp_path):
    _touch(
        tmp_path,
        *("a.jpg", "deep/b.PNG", ".c.png", ".ipynb_checkpoints/a-checkpoint.jpg"),
        *("__MACOSX/a.jpg", "deep/.trash/d.jpg", "Thumbs.db", "@eaDir/a.jpg"),
    )
    assert sorted_files(tmp_path) == (["a.jpg", "deep/b.PNG"], [])


def test_links_are_followed_and_do_not_loop(tmp_path):
    _touch(tmp_path, "here/a.jpg", "there/b.jpg")
    os.symlink(tmp_path / "there", tmp_path / "here/linked")
    os.symlink(tmp_path / "here", tmp_path / "there/back")
    assert files_below(tmp_path / "here") == ["a.jpg", "linked/b.jpg"]


def test_other_files_are_counted_by_ending(tmp_path):
    _touch(tmp_path, "a.jpg", "b.heic", "c.HEIC", "notes.txt", "README")
    images, others = sorted_files(tmp_path)
    assert images == ["a.jpg"]
    said = passed_over(others)
    assert "passed over 4 files that are no images (2 .heic," in said
    assert "1 no ending" in said
    assert "1 .txt" in said
    assert passed_over([]) == ""


def test_no_folder_has_no_files(tmp_path):
    assert sorted_files(tmp_path / "none") == ([], [])


@pytest.mark.parametrize("ending", EXTENSIONS)
def test_every_ending_is_one_that_pillow_knows(ending):
    Image.init()
    # MPO is JPEG with more pictures behind the first.
    assert Image.registered_extensions()[ending] in {*Image.OPEN, "MPO"}


@pytest.mark.parametrize("ending", ["tif", "gif", "avif", "jfif", "jp2", "tga", "ppm"])
def test_formats_beyond_jpeg_and_png_are_read(tmp_path, ending):
    Image.new("RGB", (6, 4), (250, 0, 0)).save(tmp_path / f"a.{ending}")
    assert files_below(tmp_path) == [f"a.{ending}"]
    image = read_image(tmp_path / f"a.{ending}")
    assert image.shape == (4, 6, 3)
    assert image_hw(tmp_path / f"a.{ending}") == (4, 6)
    assert abs(image[0, 0].astype(int) - [250, 0, 0]).max() < 12
