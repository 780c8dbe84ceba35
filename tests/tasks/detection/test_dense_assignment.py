"""Who answers for which object: against loops over cells and boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.tasks.detection.dense_assignment import CELLS_PER_OBJECT, assign_centers

assign = jax.jit(assign_centers)
HW = (48, 80)


def cells(strides=(4, 8, 16), hw=HW):
    """Returns the middles (N, 2) of all cells and their strides (N,)."""
    rows = [
        (s * (j + 0.5), s * (i + 0.5), s)
        for s in strides
        for i in range(-(-hw[0] // s))
        for j in range(-(-hw[1] // s))
    ]
    table = np.asarray(rows, np.float32)
    return table[:, :2], table[:, 2]


def objects(images=4, room=9, *, seed=0):
    """Returns boxes of all sizes, in px that are multiples of a quarter, and labels."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(3), np.log(70), (images, room, 2)))
    centers = rng.uniform(0, 1, (images, room, 2)) * HW[::-1]
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], -1)
    boxes = np.clip(np.round(4 * boxes) / 4, 0, np.tile(HW[::-1], 2))
    mask = np.arange(room) < rng.integers(1, room + 1, images)[:, None]
    labels = rng.integers(0, 5, (images, room)).astype(np.int32)
    return boxes.astype(np.float32), labels, mask


def level_of(size, strides):
    fitting = [s for s in sorted(strides) if size <= CELLS_PER_OBJECT * s]
    return fitting[0] if fitting else max(strides)


def reference(centers, strides, boxes, mask, radius):
    """Returns the object of each cell of one image, or -1, by the definition."""
    found = []
    for (x, y), stride in zip(centers, strides, strict=True):
        best = -1
        for m in np.flatnonzero(mask):
            x0, y0, x1, y1 = boxes[m].astype(np.float64)
            area = (x1 - x0) * (y1 - y0)
            inside = x0 < x < x1 and y0 < y < y1
            away = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2))
            level = level_of(np.sqrt(area), set(strides))
            if not (inside and away < radius * stride and level == stride):
                continue
            if best < 0 or area < np.prod(boxes[best, 2:] - boxes[best, :2]):
                best = m
        found.append(best)
    return np.asarray(found)


def run(centers, strides, boxes, labels, mask, radius=1.5):
    index, positive = assign(
        centers,
        strides,
        boxes_xyxy_px=boxes,
        box_labels=labels,
        box_mask=mask,
        center_radius=radius,
    )
    return np.where(positive, index, -1)


@pytest.mark.parametrize("strides", [(4, 8, 16), (8,), (4, 32)])
@pytest.mark.parametrize("radius", [1.5, 0.6])
def test_assignment_equals_a_loop_over_cells_and_boxes(strides, radius):
    centers, of_level = cells(strides)
    boxes, labels, mask = objects()
    found = run(centers, of_level, boxes, labels, mask, radius)
    assert len(np.unique(found)) > 4
    for image in range(len(boxes)):
        expected = reference(centers, of_level, boxes[image], mask[image], radius)
        np.testing.assert_array_equal(found[image], expected)


def test_every_level_has_objects_in_a_small_image():
    centers, strides = cells((4, 8, 16), (64, 64))
    sides = np.float32([10, 24, 60])
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], -1)[None]
    found = run(centers, strides, boxes, np.zeros((1, 3), np.int32), np.ones((1, 3), bool))
    for row, stride in enumerate((4, 8, 16)):
        assert set(strides[found[0] == row]) == {stride}


@pytest.mark.parametrize("size", [1.0, 4.0, 15.9, 16.1, 64.0, 1000.0])
@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8), (16,)])
def test_all_sizes_belong_to_a_level(size, strides):
    # A middle of a cell of each level lies at the box's own middle or next to it.
    middles = np.asarray([(200.0, 200.0)] * len(strides), np.float32)
    box = np.float32([[[200 - size / 2, 200 - size / 2, 200 + size / 2, 200 + size / 2]]])
    ones = np.ones((1, 1), bool)
    found = run(middles, np.float32(strides), box, ones.astype(np.int32), ones)
    assert (found >= 0).sum() == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_the_rows_decides_nothing(seed):
    centers, strides = cells()
    boxes, labels, mask = objects(seed=seed)
    # Equal areas, equal boxes of other classes, and one row twice.
    boxes[:, 1] = boxes[:, 0]
    boxes[:, 2] = boxes[:, 0] + np.float32([1, 0, 1, 0])
    boxes[:, 3], labels[:, 3] = boxes[:, 0], labels[:, 0]
    mask[:, :4] = True
    order = np.random.default_rng(seed).permutation(boxes.shape[1])
    before = run(centers, strides, boxes, labels, mask)
    after = run(centers, strides, boxes[:, order], labels[:, order], mask[:, order])
    assert (before >= 0).any()
    np.testing.assert_array_equal(before >= 0, after >= 0)
    for image in range(len(boxes)):
        hit = before[image] >= 0
        old, new = before[image][hit], order[after[image][hit]]
        np.testing.assert_array_equal(boxes[image][old], boxes[image][new])
        np.testing.assert_array_equal(labels[image][old], labels[image][new])


def test_rows_without_an_object_are_claimed_by_no_cell():
    centers, strides = cells()
    boxes, labels, mask = objects()
    nothing = run(centers, strides, boxes, labels, np.zeros_like(mask))
    assert (nothing == -1).all()
    alone = np.zeros_like(mask)
    alone[:, 3] = True
    found = run(centers, strides, boxes, labels, alone)
    assert set(np.unique(found)) == {-1, 3}


def test_types_are_those_promised():
    centers, strides = cells()
    boxes, labels, mask = objects()
    index, positive = jax.eval_shape(
        lambda: assign_centers(
            jnp.asarray(centers),
            jnp.asarray(strides),
            boxes_xyxy_px=boxes,
            box_labels=labels,
            box_mask=mask,
            center_radius=1.5,
        )
    )
    assert index.shape == positive.shape == (4, len(strides))
    assert index.dtype == jnp.int32
    assert positive.dtype == bool
