"""Parameter counts, digit for digit, against the published ones."""

import functools
import math

import jax
import pytest
from flax import nnx
from published_counts import COUNTS

from hybrid_jax.models.hybrid import create_model, list_models

# Other sizes of the wirings that are left: the same lines with other numbers.
LARGER = {"r26_vit_b32", "r50_vit_b16", "r50_vit_l32", "r26_vit_b16", "vit_b16", "vit_l16"}


def one_of_each_wiring(names):
    return [
        pytest.param(name, marks=pytest.mark.slow if name in LARGER else ())
        for name in names
    ]


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


@pytest.mark.parametrize("name", one_of_each_wiring(COUNTS))
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


@pytest.mark.parametrize("name", one_of_each_wiring(list_models()))
def test_every_named_model_takes_an_image(name):
    graph, state = nnx.split(shapes(name))
    logits = jax.eval_shape(
        lambda state, x: nnx.merge(graph, state)(x).logits,
        state,
        jax.ShapeDtypeStruct((2, 224, 256, 3), "float32"),
    )
    assert logits.shape == (2, 1000)
