"""Suppression with static shapes against the greedy loop, box for box."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.tasks.detection.nms import nms

jitted = jax.jit(nms, static_argnames="iou_threshold")


def overlap(a, b):
    """IoU in float32, as the devices round it."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    both = sides[0] * sides[1]
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


def greedy(boxes, labels, valid, threshold):
    """Returns what the textbook loop keeps of boxes sorted best first."""
    kept = []
    for i in np.flatnonzero(valid):
        rivals = (j for j in kept if labels[j] == labels[i])
        if not any(overlap(boxes[j], boxes[i]) > threshold for j in rivals):
            kept.append(i)
    return kept


def crowd(images=3, count=120, *, side=50.0, seed=0):
    """Returns boxes in a heap, so that chains of removals are long."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, side, (images, count, 2))
    boxes = np.concatenate([low, low + rng.uniform(8, 40, low.shape)], -1)
    labels = rng.integers(0, 3, (images, count)).astype(np.int32)
    return boxes.astype(np.float32), labels, rng.random((images, count)) < 0.9


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_keeps_what_the_greedy_loop_keeps(threshold, seed):
    boxes, labels, valid = crowd(seed=seed)
    keep = jitted(boxes, labels, valid=valid, iou_threshold=threshold)
    for image in range(len(boxes)):
        expected = greedy(boxes[image], labels[image], valid[image], threshold)
        assert np.flatnonzero(keep[image]).tolist() == expected


def test_chain_of_removals_is_followed_to_its_end():
    # Each box overlaps only the next: of a chain, every other one stays.
    starts = 4.0 * np.arange(31, dtype=np.float32)
    boxes = np.stack([starts, 0 * starts, starts + 8, 0 * starts + 8], -1)[None]
    labels, valid = np.zeros((1, 31), np.int32), np.ones((1, 31), bool)
    keep = jitted(boxes, labels, valid=valid, iou_threshold=0.3)
    assert keep[0].tolist() == [i % 2 == 0 for i in range(31)]


def test_overlap_equal_to_the_threshold_is_not_more():
    boxes = np.asarray([[[0, 0, 8, 8], [0, 4, 8, 8]]], np.float32)  # IoU 0.5
    labels, valid = np.zeros((1, 2), np.int32), np.ones((1, 2), bool)
    assert jitted(boxes, labels, valid=valid, iou_threshold=0.5).all()
    keep = jitted(boxes, labels, valid=valid, iou_threshold=0.49)
    assert keep.tolist() == [[True, False]]


def test_equal_scores_are_settled_by_row():
    boxes, labels, _ = crowd(images=1)
    scores = np.random.default_rng(2).integers(0, 4, boxes.shape[1]) / 4.0
    _, order = jax.lax.top_k(jnp.asarray(scores), len(scores))
    by_row = np.argsort(-scores, kind="stable")
    assert np.asarray(order).tolist() == by_row.tolist()
    every = np.ones((1, len(scores)), bool)
    keep = jitted(boxes[:, by_row], labels[:, by_row], valid=every, iou_threshold=0.4)
    expected = greedy(boxes[0, by_row], labels[0, by_row], every[0], 0.4)
    assert np.flatnonzero(keep[0]).tolist() == expected


def test_empty_boxes_and_no_valid_rows_are_harmless():
    boxes = np.zeros((1, 4, 4), np.float32)
    labels = np.zeros((1, 4), np.int32)
    run = functools.partial(jitted, boxes, labels, iou_threshold=0.5)
    assert run(valid=np.ones((1, 4), bool)).all()
    assert not run(valid=np.zeros((1, 4), bool)).any()
