"""Findings of a classifier against counting by hand."""

import numpy as np
import pytest

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.tasks.classification.calibration import calibration_error
from hybrid_jax.tasks.classification.findings import ClassificationFindings

NAMES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 2, 0, 0])
SURE = np.array([0.9, 0.8, 0.7, 0.95, 0.5, 0.99, 0.4], np.float32)


@pytest.fixture
def findings():
    made = ClassificationFindings(DatasetInfo(num_classes=3, class_names=NAMES))
    others = np.stack([(PREDICTED + 1) % 3, (PREDICTED + 2) % 3], 1)
    rows = dict(
        true_label=LABELS,
        top_labels=np.concatenate([PREDICTED[:, None], others], 1),
        top_probabilities=np.stack([SURE, (1 - SURE) / 2, (1 - SURE) / 2], 1),
    )
    for part in (slice(0, 4), slice(4, 7)):
        batch = {name: value[part] for name, value in rows.items()}
        made.add(batch, 10 + np.arange(7)[part], scorer=None)
    return made


def test_confusions_are_counted(findings):
    facts = findings.facts()
    assert facts["confusion"]["counts"] == [[1, 1, 0], [0, 2, 0], [2, 0, 1]]
    assert facts["confused"] == [["owl", "cat", 2], ["cat", "dog", 1]]


def test_scores_of_each_class(findings):
    table = findings.facts()["table"]
    assert table["columns"] == ["class", "images", "recall", "precision", "F1"]
    rows = {name: values for name, *values in table["rows"]}
    assert rows["cat"] == pytest.approx([2, 1 / 2, 1 / 3, 2 / 5])
    assert rows["dog"] == pytest.approx([2, 1.0, 2 / 3, 4 / 5])
    assert rows["owl"] == pytest.approx([3, 1 / 3, 1.0, 1 / 2])


def test_bins_give_the_calibration_error(findings):
    count, sure, right = np.array(findings.facts()["calibration"]).T
    by_hand = np.zeros((3, 15))
    for confidence, correct in zip(SURE, LABELS == PREDICTED, strict=True):
        by_hand[:, min(int(confidence * 15), 14)] += 1, confidence, correct
    found = calibration_error(np.stack([count, count * sure, count * right]))
    assert found == pytest.approx(calibration_error(by_hand))


def test_surest_are_the_best_and_the_worst(findings):
    best, worst = findings.cases()
    assert [case.index for case in best] == [13, 10, 12, 14]
    assert [case.index for case in worst][:3] == [15, 11, 16]
    assert worst[0].score == pytest.approx(0.99)
    assert worst[0].prediction["top_labels"].tolist() == [0, 1, 2]


def test_large_matrices_are_left_out():
    info = DatasetInfo(num_classes=5000, class_names=tuple(map(str, range(5000))))
    made = ClassificationFindings(info)
    rows = dict(true_label=np.array([4999]), top_labels=np.array([[7]]))
    made.add(rows | dict(top_probabilities=np.ones((1, 1))), np.array([0]), scorer=None)
    facts = made.facts()
    assert "confusion" not in facts
    assert facts["confused"] == [["4999", "7", 1]]
