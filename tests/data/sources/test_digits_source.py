import pickle

import numpy as np
import pytest

from hybrid_jax.data.sources import open_source


def test_splits_have_the_documented_sizes_and_share_nothing():
    sources = [open_source("digits", split=s) for s in ("train", "validation", "test")]
    assert [len(s) for s in sources] == [1444, 177, 176]
    total = sum(
        s[i]["image"][..., 0].sum(dtype=int) for s in sources for i in range(len(s))
    )
    from sklearn.datasets import load_digits

    expected = np.rint(load_digits().images * 255 / 16).sum()
    assert total == expected


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_splits_are_stratified(split):
    source = open_source("digits", split=split)
    counts = np.bincount([source[i]["label"] for i in range(len(source))])
    assert len(counts) == source.info.num_classes == 10
    assert counts.max() - counts.min() <= 8


def test_example_is_gray_bytes_and_a_plain_label():
    example = open_source("digits", split="train")[5]
    image = example["image"]
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert image.max() == 255
    assert (image[..., :1] == image).all()
    assert type(example["label"]) is int


def test_used_source_is_cheap_to_pickle():
    source = open_source("digits", split="train")
    expected = source[0]["image"]
    pickled = pickle.dumps(source)
    assert len(pickled) < 2000
    np.testing.assert_array_equal(pickle.loads(pickled)[0]["image"], expected)


def test_source_ends():
    source = open_source("digits", split="test")
    assert sum(1 for _ in source) == len(source)
