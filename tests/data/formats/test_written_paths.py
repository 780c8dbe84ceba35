"""Paths in annotations that begin at another folder than the one of the images."""

import pytest

from hybrid_jax.data.formats.written_paths import found_file


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("0.png", "0.png"),
        ("photos/0.png", "0.png"),  # counted from the folder above
        ("photos\\0.PNG", "0.png"),
        ("photos/a/1.png", "a/1.png"),
        ("a/1.png", "a/1.png"),
        ("/home/x/photos/a/1.png", "a/1.png"),
        ("other/0.png", None),  # perhaps another image of this name
        ("photos/other/0.png", None),
        ("https://x.org/0.png", None),
    ],
)
def test_file_is_the_one_that_is_meant(tmp_path, written, found):
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for name in ("0.png", "a/1.png"):
        (folder / name).touch()
    path = found_file(folder, written)
    assert path.exists() == (found is not None)
    if found is not None:
        assert path == folder / found
