import pickle

import numpy as np
import pytest

from hybrid_jax.data.shapes import shapes
from hybrid_jax.data.sources.shapes import ShapesSource, cache_path


def _source(split="validation", size_px=64, num_examples=6):
    return ShapesSource(split=split, size_px=size_px, num_examples=num_examples)


def _assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.parametrize("split", sorted(shapes.SPLITS))
def test_source_gives_what_is_drawn(split):
    source = _source(split, num_examples=3)
    for index in range(3):
        drawn = shapes.draw_example(index, split=shapes.SPLITS[split], size_px=64)
        expected = drawn | {"image_id": index, "where": f"shapes, example {index}"}
        _assert_same(source[index], expected)


def test_length_is_known_before_anything_is_drawn():
    assert len(ShapesSource(split="train", size_px=64)) == 8000


def test_factors_divide_the_label():
    info = _source().info
    assert info.num_classes == 16
    assert info.class_names[6] == "stripes/clusters"
    for example in _source():
        assert info.factors["texture"][example["label"]] == example["texture"]
        assert info.factors["layout"][example["label"]] == example["layout"]


def test_split_is_drawn_once_and_kept(monkeypatch):
    first = list(_source())
    monkeypatch.setattr(shapes, "draw_example", None)  # another draw would fail
    for a, b in zip(first, _source(), strict=True):
        _assert_same(a, b)
    path = cache_path("validation", size_px=64, num_examples=6)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_sizes_are_kept_apart():
    assert _source(size_px=64)[0]["image"].shape == (64, 64, 3)
    assert _source(size_px=128)[0]["image"].shape == (128, 128, 3)


def test_place_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRID_JAX_DATA", str(tmp_path / "file" / "below"))
    assert len(list(_source())) == 6


def test_used_source_is_cheap_to_pickle():
    source = _source()
    expected = source[2]
    pickled = pickle.dumps(source)
    assert len(pickled) < 2000
    _assert_same(pickle.loads(pickled)[2], expected)


def test_index_beyond_the_end_is_refused():
    with pytest.raises(IndexError):
        _source()[6]
