"""Findings of a detector against its scorer, and boxes against objects by hand."""

import numpy as np
import pytest
from test_coco_scores import NAMES, Boxes, predictions

from hybrid_jax.tasks.detection.coco_scores import CocoScorer
from hybrid_jax.tasks.detection.findings import DetectionFindings
from hybrid_jax.tasks.detection.matched_boxes import matched


@pytest.fixture(scope="module")
def scored():
    source = Boxes()
    scorer, findings = CocoScorer(source), DetectionFindings()
    for index in np.split(np.arange(len(source)), 2):
        each = [predictions(source, number) for number in index.tolist()]
        rows = {name: np.stack([row[name] for row in each]) for name in each[0]}
        scorer.add(rows, index)
        findings.add(rows, index, scorer=scorer)
    return source, scorer, findings


def test_curves_and_table_are_those_of_the_scores(scored):
    source, scorer, findings = scored
    facts, scores = findings.facts(), scorer.scores()
    rows = {name: values for name, *values in facts["table"]["rows"]}
    for name in NAMES[:2]:
        assert rows[name][1] == pytest.approx(scores[f"AP/{name}"])
    assert rows["never there"] == [0, None, None]
    first, *_ = facts["curves"]
    assert first[0] == "all classes"
    assert np.mean(first[2]) == pytest.approx(scores["AP50"])
    crowds = sum(example["box_crowd"].sum() for example in source.examples)
    objects = sum(len(example["box_crowd"]) for example in source.examples)
    assert sum(row[1] for row in facts["table"]["rows"]) == objects - crowds


def test_boxes_take_the_best_free_object_of_their_class():
    objects = dict(
        boxes_xyxy_px=np.array([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]]),
        labels=np.array([0, 0, 1]),
    )
    boxes = [[0, 0, 10, 8], [0, 0, 10, 10], [0, 0, 10, 10]]
    boxes += [[50, 50, 60, 60], [50, 50, 70, 60]]
    found = dict(
        boxes_xyxy_px=np.array(boxes),
        labels=np.array([0, 0, 0, 0, 1]),
    )
    ious = matched(found, objects=objects)
    np.testing.assert_allclose(ious, [1.0, 1.0, 0.0, 0.0, 0.5])
    nothing = dict(boxes_xyxy_px=np.zeros((0, 4)), labels=np.zeros(0, int))
    assert matched(found, objects=nothing).tolist() == [0.0] * 5
    assert matched(nothing, objects=objects).shape == (0,)


def test_best_and_worst_are_ranked_by_panoptic_quality():
    class Three(Boxes):
        def __init__(self):
            boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
            self.examples = [
                dict(
                    boxes_xyxy_px=boxes,
                    box_labels=np.zeros(2, np.int32),
                    box_crowd=np.zeros(2, bool),
                    original_hw=(40, 40),
                )
            ] * 3

    source = Three()
    boxes = np.tile(source.examples[0]["boxes_xyxy_px"], (3, 1, 1))
    scores = np.array([[0.9, 0.8], [0.9, 0.1], [0.9, 0.8]])
    boxes[2] += 100  # finds nothing
    rows = dict(boxes_xyxy_px=boxes, scores=scores, labels=np.zeros((3, 2), int))
    rows["valid"] = np.ones((3, 2), bool)
    scorer, findings = CocoScorer(source), DetectionFindings()
    scorer.add(rows, np.arange(3))
    findings.add(rows, np.arange(3), scorer=scorer)
    best, worst = findings.cases()
    # The second box of image 1 is not drawn: one pair, and one object without partner.
    assert [(case.index, case.score) for case in best] == [(0, 1.0), (1, 1 / 1.5)]
    assert [case.index for case in worst] == [2, 1, 0]
    bins = np.array(findings.facts()["calibration"])
    assert bins[:, 0].sum() == 6
    assert bins[9].tolist() == pytest.approx([3, 0.9, 2 / 3])
