"""Parameter counts, digit for digit.

The hybrids' and ViTs' counts at 224 px are those of vision_transformer's own
`models_test.py` (R26+B/16, which has no published count, comes from the same formula);
those of the batch-norm ResNets are torchvision's. 1000 classes throughout.
"""

import functools
import math

import jax
import pytest
from flax import nnx

from hybrid_jax.models.hybrid import create_model, list_models

COUNTS = {  # name: (224 px, 384 px, of the ResNet part)
    "r_vit_ti16": (6_337_704, 6_355_944, 9_536),
    "r26_vit_s32": (36_431_912, 36_468_392, 13_946_176),
    "r26_vit_b32": (101_383_976, 101_456_936, 13_946_176),
    "r50_vit_b16": (98_659_112, 98_950_952, 11_894_848),
    "r50_vit_l32": (328_994_856, 329_092_136, 23_508_032),
    "r26_vit_b16": (92_442_664, 92_734_504, 5_678_400),
    "r26_vit_s16": (27_827_368, 27_973_288, 5_678_400),
    "vit_s16": (22_050_664, 22_196_584, 0),
    "vit_b16": (86_567_656, 86_859_496, 0),
    "vit_l16": (304_326_632, 304_715_752, 0),
    "resnet50": (25_557_032, 25_557_032, 25_557_032 - 2_049_000),
}


@functools.cache
def shapes(name, **options):
    return nnx.eval_shape(lambda: create_model(name, num_classes=1000, **options))


def count(name, *, part="", **options):
    node = shapes(name, **options)
    for attribute in filter(None, part.split(".")):
        node = getattr(node, attribute, None)
    params = () if node is None else jax.tree.leaves(nnx.state(node, nnx.Param))
    return sum(math.prod(leaf.shape) for leaf in params)


@pytest.mark.parametrize("name", COUNTS)
def test_count_at_224_is_the_published_one(name):
    assert count(name) == COUNTS[name][0]


@pytest.mark.parametrize("name", COUNTS)
def test_count_at_384_grows_by_the_positions(name):
    assert count(name, image_size=384) == COUNTS[name][1]


@pytest.mark.parametrize("name", COUNTS)
def test_count_of_the_resnet_part(name):
    assert count(name, part="backbone.resnet") == COUNTS[name][2]


@pytest.mark.parametrize(("size", "expected"), [("r101", 44_549_160), ("r152", 60_192_808)])
def test_batch_norm_resnet_counts_as_torchvision(size, expected):
    assert count("resnet50", resnet=size) == expected


def test_hybrid_sizes_that_are_not_named_follow_the_same_formula():
    assert count("r26_vit_b16", vit="s") == 27_827_368
    assert count("r50_vit_b16", vit="s") == 34_043_816


def test_rectangular_image_has_a_rectangular_grid():
    # (384 / 16) * (640 / 16) positions and the class token's, against 14 * 14 and one.
    grown = count("r26_vit_b16", image_size=(384, 640)) - count("r26_vit_b16")
    assert grown == (24 * 40 - 14 * 14) * 768


@pytest.mark.parametrize("name", list_models())
def test_every_named_model_takes_an_image(name):
    logits = jax.eval_shape(
        lambda x: create_model(name, num_classes=7)(x).logits,
        jax.ShapeDtypeStruct((2, 224, 256, 3), "float32"),
    )
    assert logits.shape == (2, 7)
