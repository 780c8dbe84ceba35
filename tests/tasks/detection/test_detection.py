"""Boxes led back to original pixels, suppressed, packed and mirrored."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_example import HW, INFO, K, cells, random_batch, random_outputs, task_of
from scipy.optimize import linear_sum_assignment

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.transforms.letterbox import letterboxed
from hybrid_jax.data.transforms.resize import stretched
from hybrid_jax.data.transforms.scale_jitter import scale_jittered
from hybrid_jax.errors import UserError
from hybrid_jax.outputs import BoxSet, SetDetectionOutputs
from hybrid_jax.tasks import TASKS
from hybrid_jax.tasks.detection.coco_scores import CocoScorer
from hybrid_jax.tasks.detection.dense_detection import dense_candidates
from hybrid_jax.tasks.detection.task import Detection

# Original boxes, no two alike, in an image of 90 x 60 px (height x width).
ORIGINAL_HW = (90, 60)
BOXES = np.float32([[4, 6, 30, 40], [20, 50, 58, 88], [0, 60, 12, 90], [33, 3, 60, 20]])
LABELS = np.int32([2, 0, 1, 2])


def placed_batch(place):
    """Returns a batch of one image of ORIGINAL_HW, laid into HW."""
    boxes = place.boxes(BOXES)
    return random_batch(1) | dict(
        original_hw=np.int32([ORIGINAL_HW]),
        scale_yx=np.float32([place.scale_yx]),
        offset_yx=np.float32([place.offset_yx]),
        content_yxyx_px=np.int32([place.content_yxyx_px]),
        boxes_xyxy_px=boxes[None],
        box_labels=LABELS[None],
        box_mask=np.ones((1, 4), bool),
    )


def perfect_outputs(batch):
    """Returns what says, from every cell of the finest level, the box nearest to it."""
    outputs = random_outputs(1)
    boxes, labels = batch["boxes_xyxy_px"][0], batch["box_labels"][0]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    centers, strides = cells()
    nearest = np.abs(centers[:, None] - middles).max(-1).argmin(1)
    sure = np.where(strides[:, None] == 8, 20.0 * np.eye(K)[labels[nearest]], 0) - 10.0
    return dataclasses.replace(
        outputs,
        logits=jnp.asarray(sure[None], jnp.float32),
        quality_logits=jnp.full((1, len(centers)), 10.0),
        boxes_xyxy_px=jnp.asarray(boxes[nearest][None]),
    )


def predict(outputs, batch, **options):
    """Returns the predictions as numpy, compiled as evaluation compiles them."""
    options = dict(max_detections=20, nms_candidates=60) | options
    task = task_of(**options)
    return jax.tree.map(np.asarray, jax.jit(task.predict)(outputs, batch))


@pytest.mark.parametrize("fit", ["letterbox", "resize", "jitter"])
def test_perfect_answers_lead_back_to_the_original_boxes(fit):
    if fit == "jitter":
        rng = np.random.default_rng(3)
        place = scale_jittered(ORIGINAL_HW, rng, frame_hw=HW, scale=(0.6, 0.7))
    else:
        fits = dict(letterbox=letterboxed, resize=stretched)
        place = fits[fit](ORIGINAL_HW, frame_hw=HW)
    batch = placed_batch(place)
    found = predict(perfect_outputs(batch), batch, score_threshold=0.5)
    assert found["valid"][0].sum() == 4
    rows = found["boxes_xyxy_px"][0, :4]
    overlaps = np.asarray([[overlap(box, row) for row in rows] for box in BOXES])
    objects, rows = linear_sum_assignment(-overlaps)
    np.testing.assert_allclose(found["boxes_xyxy_px"][0, rows], BOXES[objects], atol=1e-4)
    np.testing.assert_array_equal(found["labels"][0, rows], LABELS[objects])


def overlap(a, b):
    """IoU in float32, as the devices round it."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    both = sides.prod()
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


def greedy(boxes, scores, *, threshold, nms_iou, candidates):
    """Returns (score, cell, class) of what the textbook loop keeps, best first."""
    order = np.argsort(-scores, axis=None, kind="stable")[:candidates]
    kept = []
    for flat in order:
        cell, label = divmod(int(flat), scores.shape[1])
        rivals = (boxes[c] for _, c, other in kept if other == label)
        if scores[cell, label] >= threshold and not any(
            overlap(rival, boxes[cell]) > nms_iou for rival in rivals
        ):
            kept.append((scores[cell, label], cell, label))
    return kept


def test_predictions_equal_greedy_suppression():
    outputs, batch = random_outputs(2), random_batch(2)
    batch["original_hw"][:] = 1000
    options = dict(score_threshold=0.3, nms_iou=0.4, nms_candidates=80)
    found = predict(outputs, batch, **options, max_detections=200)
    boxes, scores = map(np.asarray, dense_candidates(outputs))
    for image in range(2):
        expected = greedy(
            *(boxes[image], scores[image]), threshold=0.3, nms_iou=0.4, candidates=80
        )
        inside = [
            row for row in expected if (np.maximum(boxes[image, row[1], 2:], 0) > 0).all()
        ]
        count = found["valid"][image].sum()
        assert 10 < count == len(inside) < len(scores[image]) * K
        expected_scores, rows, labels = map(np.asarray, zip(*inside, strict=True))
        np.testing.assert_allclose(found["scores"][image, :count], expected_scores)
        np.testing.assert_array_equal(found["labels"][image, :count], labels)
        np.testing.assert_array_equal(
            found["boxes_xyxy_px"][image, :count], np.maximum(boxes[image][rows], 0)
        )


@pytest.mark.parametrize("room", [7, 500])
def test_predictions_have_one_shape_and_zeros_after_the_last(room):
    outputs, batch = random_outputs(2), random_batch(2)
    options = dict(score_threshold=0.5, nms_iou=0.1)
    found = predict(outputs, batch, **options, max_detections=room)
    shapes = {name: (v.shape, v.dtype.name) for name, v in found.items()}
    assert shapes == dict(
        boxes_xyxy_px=((2, room, 4), "float32"),
        scores=((2, room), "float32"),
        labels=((2, room), "int32"),
        valid=((2, room), "bool"),
    )
    valid = found["valid"]
    assert (np.diff(valid.astype(int), axis=1) <= 0).all()
    assert (np.diff(found["scores"], axis=1) <= 0).all()
    assert (found["scores"][valid] >= 0.5).all()
    for name in ("boxes_xyxy_px", "scores", "labels"):
        assert not found[name][~valid].any()
    if room == 7:
        assert valid.all()
    else:
        assert (valid.sum(1) < 60).all()  # some candidates are suppressed


def test_boxes_are_cut_at_the_original_border_and_padding_holds_none():
    batch = placed_batch(letterboxed(ORIGINAL_HW, frame_hw=HW))
    outputs = random_outputs(1)
    everywhere = jnp.broadcast_to(jnp.float32([-9, -9, 99, 99]), (1, 75, 4))
    found = predict(dataclasses.replace(outputs, boxes_xyxy_px=everywhere), batch)
    np.testing.assert_allclose(found["boxes_xyxy_px"][0, 0], [0, 0, 60, 90])
    right = batch["content_yxyx_px"][0, 3]
    padding = jnp.broadcast_to(jnp.float32([right + 1, 2, 79, 40]), (1, 75, 4))
    found = predict(dataclasses.replace(outputs, boxes_xyxy_px=padding), batch)
    assert not found["valid"].any()


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_flip_moves_image_boxes_and_content_of_the_same_images(rate):
    batch = random_batch(16)
    batch["content_yxyx_px"][:] = (2, 4, 40, 70)
    batch["boxes_xyxy_px"] = np.round(batch["boxes_xyxy_px"])
    out = jax.jit(task_of(flip=rate).augment)(batch, key=jax.random.key(0))
    out = jax.tree.map(np.asarray, out)
    flipped = [
        not np.array_equal(a, b) for a, b in zip(out["image"], batch["image"], strict=True)
    ]
    assert np.mean(flipped) == rate or 0 < np.mean(flipped) < 1 == 2 * rate
    for i, moved in enumerate(flipped):
        image, boxes = batch["image"][i], batch["boxes_xyxy_px"][i].astype(int)
        top, left, bottom, right = out["content_yxyx_px"][i]
        assert (top, left, bottom, right) == ((2, 10, 40, 76) if moved else (2, 4, 40, 70))
        for old, new in zip(boxes, out["boxes_xyxy_px"][i].astype(int), strict=True):
            before = image[old[1] : old[3], old[0] : old[2]]
            after = out["image"][i, new[1] : new[3], new[0] : new[2]]
            np.testing.assert_array_equal(after, before[:, ::-1] if moved else before)


def test_sets_are_answered_without_suppression():
    boxes = np.float32([[0.5, 0.5, 0.25, 0.5], [0.5, 0.5, 0.25, 0.5]])
    logits = np.float32([[3, -9, 1], [2, -9, -9]])
    layer = BoxSet(jnp.asarray(logits[None]), jnp.asarray(boxes[None]))
    outputs = SetDetectionOutputs(layers=(layer,), image_hw=HW)
    found = predict(outputs, random_batch(1), score_threshold=0.5, max_detections=5)
    assert found["valid"].tolist() == [[True, True, True, False, False]]
    assert found["labels"][0, :3].tolist() == [0, 0, 2]
    np.testing.assert_allclose(found["scores"][0, :3], 1 / (1 + np.exp(-np.r_[3, 2, 1])))
    np.testing.assert_allclose(found["boxes_xyxy_px"][0, :3], [[30, 12, 50, 36]] * 3)


def test_flip_follows_the_key():
    batch, augment = random_batch(16), jax.jit(task_of(flip=0.5).augment)
    images = [augment(batch, key=jax.random.key(seed))["image"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 0


def test_sums_of_two_batches_give_the_loss_of_all():
    task = task_of()
    metrics = jax.jit(task.metrics)
    outputs, batch = random_outputs(), random_batch()
    batch["mask"][2] = False
    other = random_batch(seed=5)
    sums = [metrics(outputs, batch), metrics(outputs, other)]
    assert sums[0]["count"] == 2
    total = jax.tree.map(lambda a, b: np.float64(a + b), *sums)
    losses = [jax.jit(task.loss)(outputs, b) for b in (batch, other)]
    expected = sum(float(m.total) for m in losses) / sum(float(m.count) for m in losses)
    scores = task.summarize(total)
    assert scores["count"] == 5
    assert scores["loss"] == pytest.approx(expected, rel=1e-5)


def test_set_of_nothing_scores_zero_and_not_nan():
    sums = dict(count=np.float64(0), loss=np.float64(0), loss_count=np.float64(0))
    assert task_of().summarize(sums) == dict(loss=0.0, count=0)


def test_classes_are_those_of_the_boxes():
    assert TASKS.get("detection") is Detection
    assert Detection.num_classes(INFO) == K
    with pytest.raises(UserError, match="'detection' needs boxes") as error:
        Detection.num_classes(DatasetInfo(num_classes=7))
    assert "task.name" in str(error.value)


def test_scorer_is_coco_s():
    class Empty(list):
        info = INFO

    assert isinstance(task_of().scorer(Empty()), CocoScorer)


def test_valid_rows_alone_are_drawn_and_answered():
    prediction = dict(
        boxes_xyxy_px=np.concatenate([BOXES[:1], np.zeros((1, 4), np.float32)]),
        scores=np.float32([0.75, 0.9]),
        labels=np.int32([2, 0]),
        valid=np.asarray([True, False]),
    )
    box = dict(name="owl", label=2, score=0.75, box_xyxy_px=BOXES[0].tolist())
    assert task_of().to_json(prediction) == dict(boxes=[box])
    blank = np.zeros((300, 300, 3), np.uint8)
    drawn = task_of().draw(blank, prediction)
    assert drawn.any()
    prediction["valid"][:] = False
    assert not task_of().draw(blank, prediction).any()


def test_model_is_applied_once_with_what_it_is_given():
    calls = []

    def model(image, **options):
        calls.append(options)
        return image

    image = jnp.ones(3)
    assert task_of().infer(model, image, content_yxyx_px=1) is image
    assert calls == [dict(content_yxyx_px=1)]
