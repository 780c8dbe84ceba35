"""Lists of classes, as people and labelme write them."""

import pytest

from hybrid_jax.data.formats.classes.class_list import listed_classes
from hybrid_jax.errors import UserError


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("classes.txt", "sky\n\nsea\n", ("sky", "sea")),
        ("classes.txt", "\ufeffsky\r\n sea \r\n\r\n\n", ("sky", "sea")),
        ("class_names.txt", "_background_\ncar\ntrack", ("_background_", "car", "track")),
        ("class_names.txt", "__ignore__\n_background_\ncar\n", ("_background_", "car")),
        ("names.txt", "sky\n", None),
    ],
)
def test_names_are_those_of_the_ids_from_zero(tmp_path, file, text, names):
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert listed_classes(tmp_path) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected one or more names"),
        ("\n\n", "expected one or more names"),
        ("sky\nsea\nsky\n", "'sky' stands in two lines"),
    ],
)
def test_ids_that_are_not_clear_are_refused(tmp_path, text, said):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=rf"classes.txt: .*{said}"):
        listed_classes(tmp_path)
