"""Classes at the original resolution against loops over original pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.data.transforms.letterbox import letterboxed
from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.resize import stretched
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.tasks.segmentation.prediction import original_classes

classes_of = jax.jit(original_classes, static_argnames=("canvas_hw", "largest_strip"))
K = 5
CANVAS = (40, 52)
FRAME = (21, 30)
# Wide, tall, larger than the frame, smaller, and as large.
ORIGINALS = [(17, 52), (40, 11), (39, 51), (5, 7), (21, 30)]


def at(x, row, column):
    """Reads a map (h, w, K) between the centers of its cells, in float64."""
    h, w, _ = x.shape
    row, column = min(max(row, 0.0), h - 1.0), min(max(column, 0.0), w - 1.0)
    i, j = int(row), int(column)
    below, right = min(i + 1, h - 1), min(j + 1, w - 1)
    v, u = row - i, column - j
    upper = (1 - u) * x[i, j] + u * x[i, right]
    return (1 - v) * upper + v * ((1 - u) * x[below, j] + u * x[below, right])


def shifted(original_hw, *, frame_hw):
    """Lies away from the frame's corner, and partly outside it."""
    return Placement(original_hw, (18, 33), (2, -2), frame_hw)


@pytest.mark.parametrize("fit", [letterboxed, stretched, shifted])
@pytest.mark.parametrize("stride", [1, 4])
def test_classes_are_those_of_the_enlarged_logits(fit, stride):
    places = [fit(hw, frame_hw=FRAME) for hw in ORIGINALS]
    cells = tuple(-(-side // stride) for side in FRAME)
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((len(places), *cells, K)).astype(np.float32)
    geometry = {
        name: jnp.asarray([getattr(place, name) for place in places])
        for name in ("original_hw", "scale_yx", "offset_yx")
    }
    outputs = SegmentationOutputs(logits=jnp.asarray(logits), stride=stride)
    ours = np.asarray(classes_of(outputs, geometry, canvas_hw=CANVAS))
    assert ours.dtype == np.uint8
    assert ours.shape == (len(places), *CANVAS)
    for image, place in enumerate(places):
        h, w = place.original_hw
        exact = logits[image].astype(np.float64)
        for y, x in np.ndindex(h, w):
            frame_y = (y + 0.5) * place.scale_yx[0] + place.offset_yx[0]
            frame_x = (x + 0.5) * place.scale_yx[1] + place.offset_yx[1]
            scores = at(exact, frame_y / stride - 0.5, frame_x / stride - 0.5)
            # Two classes may be as large to float32 rounding; then either will do.
            assert scores[ours[image, y, x]] >= scores.max() - 1e-5
        outside = np.ones(CANVAS, bool)
        outside[:h, :w] = False
        assert (ours[image][outside] == 255).all()


def test_an_image_of_the_frames_size_keeps_every_class():
    place = letterboxed(FRAME, frame_hw=FRAME)
    labels = np.random.default_rng(0).integers(0, K, (1, *FRAME))
    geometry = dict(
        original_hw=jnp.asarray([place.original_hw]),
        scale_yx=jnp.asarray([place.scale_yx]),
        offset_yx=jnp.asarray([place.offset_yx]),
    )
    outputs = SegmentationOutputs(logits=jax.nn.one_hot(labels, K), stride=1)
    classes = classes_of(outputs, geometry, canvas_hw=FRAME)
    np.testing.assert_array_equal(classes, labels)


def test_strips_change_nothing():
    places = [letterboxed(hw, frame_hw=FRAME) for hw in ORIGINALS]
    geometry = {
        name: jnp.asarray([getattr(place, name) for place in places])
        for name in ("original_hw", "scale_yx", "offset_yx")
    }
    logits = np.random.default_rng(3).standard_normal((len(places), 6, 8, K))
    outputs = SegmentationOutputs(logits=jnp.asarray(logits, jnp.float32), stride=4)
    whole, cut = (
        classes_of(outputs, geometry, canvas_hw=CANVAS, largest_strip=size)
        for size in (None, 7 * CANVAS[1] * K)
    )
    assert (np.asarray(whole) == np.asarray(cut)).mean() > 0.9999
