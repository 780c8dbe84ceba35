import dataclasses
import hashlib

import numpy as np
import pytest

from hybrid_jax.data.shapes import shapes

EASY = dataclasses.replace(shapes.SPLITS["train"], noise=0.0)


def test_splits_have_the_documented_sizes():
    sizes = {name: split.num_examples for name, split in shapes.SPLITS.items()}
    assert sizes == {
        "train": 8000,
        "validation": 1000,
        "test": 1000,
        "test_noise": 500,
        "test_bars": 500,
        "test_small": 500,
        "test_large": 500,
    }


def test_splits_have_seeds_of_their_own():
    seeds = [split.seed for split in shapes.SPLITS.values()]
    assert len(set(seeds)) == len(seeds)


# From the prototype that specified the data set; a change of these is a new SPEC_VERSION.
@pytest.mark.parametrize(
    ("name", "size_px", "digest"),
    [
        ("train", 64, "782e87d1542f6f96"),
        ("train", 128, "718764a14749b0cb"),
        ("test_noise", 64, "8a014107f9b5706a"),
        ("test_bars", 64, "3916b57fde80e220"),
        ("test_small", 64, "2018b6946dbab83b"),
        ("test_large", 64, "de17bd2b70810c90"),
    ],
)
def test_examples_are_the_specified_ones_bit_for_bit(name, size_px, digest):
    sha = hashlib.sha256()
    for index in range(3):
        example = shapes.draw_example(index, split=shapes.SPLITS[name], size_px=size_px)
        for key in ("image", "segmentation", "instances", "boxes_xyxy_px", "box_labels"):
            sha.update(example[key].tobytes())
        sha.update(bytes([example["label"]]))
    assert sha.hexdigest()[:16] == digest


def test_label_is_texture_times_layout():
    for index in range(10):
        example = shapes.draw_example(index, split=EASY, size_px=32)
        assert example["label"] == example["texture"] * 4 + example["layout"]


def test_boxes_surround_the_visible_pixels():
    for index in range(10):
        example = shapes.draw_example(index, split=EASY, size_px=64)
        assert 3 <= len(example["boxes_xyxy_px"]) <= 7
        for (left, top, right, bottom), kind in zip(
            example["boxes_xyxy_px"].astype(int), example["box_labels"], strict=True
        ):
            inside = example["segmentation"][top:bottom, left:right] == kind + 1
            assert inside.any(axis=0)[[0, -1]].all()
            assert inside.any(axis=1)[[0, -1]].all()


def test_bars_hide_annotated_pixels():
    bars = dataclasses.replace(EASY, bars=8)
    plain, barred = (
        shapes.draw_example(0, split=split, size_px=64)["segmentation"] > 0
        for split in (EASY, bars)
    )
    assert barred.sum() < plain.sum()
    assert not (barred & ~plain).any()


def test_all_sixteen_labels_come_up():
    labels = [shapes.draw_example(i, split=EASY, size_px=16)["label"] for i in range(200)]
    assert set(labels) == set(range(16))
    assert np.bincount(labels).max() < 30
