"""Tests refuse arrays of wrong shapes at the borders of the library; users do not pay."""

import subprocess
import sys
import typing

import border_checks
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.config import defaults
from hybrid_jax.contracts import Batch, Features
from hybrid_jax.data.blank_batch import blank_batch
from hybrid_jax.models.heads import HEADS
from hybrid_jax.ops.normalized_boxes import content_to_image_boxes
from hybrid_jax.ops.rescale import upsample

BOXES, MASK = jnp.zeros((2, 5, 4)), jnp.ones((2, 8, 8), bool)


def _head() -> nnx.Module:
    return HEADS.get("linear")(
        {}, width=4, num_classes=3, dtype="float32", rngs=nnx.Rngs(0)
    )


@pytest.mark.parametrize(
    ("boxes", "mask"),
    [
        (BOXES[..., :3], MASK),
        (BOXES[:1], MASK),  # B of one argument is B of the other
        (BOXES, MASK.astype(jnp.uint8)),
        (BOXES.astype(int), MASK),
    ],
)
def test_operation_refuses_other_shapes_and_dtypes(boxes, mask):
    assert content_to_image_boxes(BOXES, MASK).shape == BOXES.shape
    with pytest.raises(jaxtyping.TypeCheckError, match="content_to_image_boxes"):
        content_to_image_boxes(boxes, mask)


def test_result_has_the_shape_that_is_promised(monkeypatch):
    x = jnp.zeros((1, 2, 2, 3))
    monkeypatch.setattr("jax.image.resize", lambda x, *_: x)  # a broken one
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        upsample(x, (4, 4), factor=2)


def test_head_refuses_features_of_other_shapes():
    head = _head()
    assert head(Features(maps={}, pooled=jnp.zeros((2, 4)))).logits.shape == (2, 3)
    for wrong in (
        Features(maps={}, pooled=jnp.zeros((2, 1, 4))),
        Features(maps={8: jnp.zeros((2, 4))}, pooled=jnp.zeros((2, 4))),
        Features(maps={}, pooled=jnp.zeros((2, 4)), mask=MASK[:1]),
    ):
        with pytest.raises(jaxtyping.TypeCheckError, match="features"):
            head(wrong)


def test_batch_has_the_fields_that_its_type_names():
    hints = typing.get_type_hints(Batch)
    targets = ("label", "boxes", "segmentation")
    data = defaults().data
    data.image_size = (12, 16)
    batch = blank_batch(data, targets=targets, batch_size=2)
    with jaxtyping.jaxtyped("context"):
        for name, value in batch.items():
            assert isinstance(value, hints[name]), (name, value.shape, value.dtype)


def test_modules_are_those_of_the_library():
    for module in (*border_checks.MODULES, *border_checks.TREES):
        __import__(module)


def test_without_the_hook_nothing_is_wrapped():
    code = (
        "import sys, hybrid_jax.ops.boxes as b; "
        "assert not hasattr(b.iou, '__wrapped__'); assert 'beartype' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert np.all([hasattr(f, "__wrapped__") for f in (upsample, content_to_image_boxes)])
