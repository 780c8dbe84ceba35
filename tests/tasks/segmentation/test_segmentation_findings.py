"""Findings of a segmenter against its scorer, image by image."""

import numpy as np
import pytest
from test_segmentation_scores import NAMES, Masks, predicted, scored

from hybrid_jax.tasks.segmentation.findings import SegmentationFindings
from hybrid_jax.tasks.segmentation.scores import SegmentationScorer


@pytest.fixture(scope="module")
def found():
    source = Masks(images=7)
    rows, scorer = predicted(source), SegmentationScorer(source)
    findings = SegmentationFindings(source.info)
    for index in (np.arange(0, 4), np.arange(4, 7)):
        batch = {name: value[index] for name, value in rows.items()}
        scorer.add(batch, index)
        findings.add(batch, index, scorer=scorer)
    return source, rows, scorer, findings


def test_iou_of_an_image_is_that_of_a_split_of_it_alone(found):
    source, rows, scorer, _ = found
    for index in range(len(source)):
        alone = Masks(images=7)
        alone.masks = [source.masks[index]]
        row = {name: value[index : index + 1] for name, value in rows.items()}
        expected = scored(alone, row).scores()["mIoU"]
        assert scorer.image_iou[index] == pytest.approx(expected)


def test_cases_are_ranked_by_it(found):
    source, rows, scorer, findings = found
    best, worst = findings.cases()
    order = sorted(range(7), key=lambda index: -scorer.image_iou[index])
    assert [case.index for case in best] == order[:6]
    assert [case.index for case in worst] == order[::-1][:6]
    for case in (*best, *worst):
        assert case.score == pytest.approx(scorer.image_iou[case.index])
        height, width = source.masks[case.index].shape
        expected = rows["segmentation"][case.index, :height, :width]
        np.testing.assert_array_equal(case.prediction["segmentation"], expected)


def test_table_and_mistakes_are_those_of_the_confusion_matrix(found):
    _, _, scorer, findings = found
    facts, scores = findings.facts(), scorer.scores()
    rows = {name: values for name, *values in facts["table"]["rows"]}
    assert rows["car"][1] == pytest.approx(scores["IoU/car"])
    assert rows["nowhere"] == [0, None, None]
    assert facts["confusion"]["counts"] == scorer.confusion.tolist()
    true, predicted_as, count = facts["confused"][0]
    pair = NAMES.index(true), NAMES.index(predicted_as)
    assert pair[0] != pair[1]
    wrong = scorer.confusion - np.diag(scorer.confusion.diagonal())
    assert scorer.confusion[pair] == count == wrong.max()


def test_image_without_a_known_pixel_is_no_case():
    source = Masks(images=2)
    source.masks[0] = np.full_like(source.masks[0], 255)
    rows, scorer = predicted(source), SegmentationScorer(source)
    findings = SegmentationFindings(source.info)
    scorer.add(rows, np.arange(2))
    findings.add(rows, np.arange(2), scorer=scorer)
    assert [[case.index for case in cases] for cases in findings.cases()] == [[1], [1]]
