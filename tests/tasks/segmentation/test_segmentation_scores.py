"""IoU and accuracies against plain loops, and against another library's counts."""

import csv
import json

import numpy as np
import pytest
from hotcoco.semantic import SemanticEval

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import BadAnnotationError, UserError
from hybrid_jax.tasks.segmentation.scores import SegmentationScorer

NAMES = ("sky", "road, wet", "car", "in truth alone", "predicted alone", "nowhere")
K = len(NAMES)
CANVAS = (40, 44)


class Masks:
    """Random masks of several sizes, a fifth of their pixels void."""

    info = DatasetInfo(segmentation_names=NAMES)

    def __init__(self, *, images=7, seed=0):
        random = np.random.default_rng(seed)
        self.masks = []
        for index in range(images):
            hw = (20 + 3 * index, CANVAS[1] - 4 * index)
            mask = random.choice([0, 0, 0, 1, 2, 3], hw).astype(np.uint8)
            mask[random.uniform(size=hw) < 0.2] = 255
            self.masks.append(mask)

    def __len__(self):
        return len(self.masks)

    def annotations(self, index):
        mask = self.masks[index]
        return dict(segmentation=mask, original_hw=mask.shape, where=f"mask{index}.png")


def predicted(source, *, seed=1):
    """Returns classes partly right, in the corner of canvases of 255, and the sizes."""
    random = np.random.default_rng(seed)
    canvases = np.full((len(source), *CANVAS), 255, np.uint8)
    for share, canvas, mask in zip(range(9), canvases, source.masks, strict=False):
        guess = random.choice([0, 1, 2, 4], mask.shape).astype(np.uint8)
        kept = (random.uniform(size=mask.shape) < share / 6) & (mask != 255) & (mask != 3)
        canvas[: mask.shape[0], : mask.shape[1]] = np.where(kept, mask, guess)
    return dict(
        segmentation=canvases,
        original_hw=np.array([mask.shape for mask in source.masks], np.int32),
    )


def scored(source, rows, *, batch=3):
    scorer = SegmentationScorer(source)
    for start in range(0, len(source), batch):
        index = np.arange(start, min(start + batch, len(source)))
        scorer.add({name: value[index] for name, value in rows.items()}, index)
    return scorer


def by_loops(source, rows):
    """Returns the confusion matrix and the scores, one pixel after another."""
    confusion = [[0] * K for _ in range(K)]
    for canvas, mask in zip(rows["segmentation"], source.masks, strict=True):
        for y, x in np.ndindex(mask.shape):
            if mask[y, x] != 255:
                confusion[mask[y, x]][canvas[y, x]] += 1
    iou, accuracy = {}, {}
    for k in range(K):
        true = sum(confusion[k])
        union = true + sum(row[k] for row in confusion) - confusion[k][k]
        iou[k] = confusion[k][k] / union if union else None
        accuracy[k] = confusion[k][k] / true if true else None
    pixels = sum(map(sum, confusion))

    def mean(values):
        known = [value for value in values.values() if value is not None]
        return float(np.mean(known))

    scores = dict(mIoU=mean(iou), mAcc=mean(accuracy))
    scores["aAcc"] = sum(confusion[k][k] for k in range(K)) / pixels
    for kind, values in (("IoU", iou), ("Acc", accuracy)):
        for k, name in enumerate(NAMES):
            scores[f"{kind}/{name}"] = -1.0 if values[k] is None else values[k]
    return confusion, scores


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_scores_are_those_of_plain_loops(batch):
    source = Masks()
    rows = predicted(source)
    confusion, expected = by_loops(source, rows)
    scorer = scored(source, rows, batch=batch)
    assert scorer.confusion.tolist() == confusion
    assert scorer.confusion.dtype == np.int64
    assert scorer.scores() == expected
    assert list(scorer.scores()) == list(expected)
    json.dumps(scorer.scores(), allow_nan=False)
    assert expected["IoU/in truth alone"] == expected["IoU/predicted alone"] == 0.0
    assert expected["Acc/predicted alone"] == expected["IoU/nowhere"] == -1.0
    assert 0.2 < expected["mIoU"] < expected["mAcc"] < 0.9


def test_scores_are_those_of_another_library():
    source = Masks()
    rows = predicted(source)
    other = SemanticEval(list(NAMES))
    for canvas, mask in zip(rows["segmentation"], source.masks, strict=True):
        other.update(mask, canvas[: mask.shape[0], : mask.shape[1]])
    scorer = scored(source, rows)
    assert scorer.confusion.tolist() == other.confusion().tolist()
    metrics = other.report()["metrics"]
    found = scorer.scores()
    for name in ("mIoU", "mAcc", "aAcc"):
        assert found[name] == metrics[name]


def test_score_of_the_set_is_no_mean_over_images():
    source = Masks()
    rows = predicted(source)
    alone = []
    for index in range(len(source)):
        scorer = SegmentationScorer(source)
        scorer.add({k: x[[index]] for k, x in rows.items()}, np.array([index]))
        alone.append(scorer.scores()["mIoU"])
    assert abs(np.mean(alone) - scored(source, rows).scores()["mIoU"]) > 1e-3


def test_void_everywhere_is_no_score():
    source = Masks()
    rows = predicted(source)
    source.masks = [np.full_like(mask, 255) for mask in source.masks]
    assert set(scored(source, rows).scores().values()) == {-1.0}


def test_files_hold_the_table_and_the_counts(tmp_path):
    source = Masks()
    scorer = scored(source, predicted(source))
    scorer.write(tmp_path / "evaluation_test")
    scores = scorer.scores()
    lines = (tmp_path / "evaluation_test_iou.txt").read_text().splitlines()
    assert lines[0] == f"mIoU  {scores['mIoU']:6.4f}"
    row = next(line for line in lines if line.startswith("car "))
    share = scorer.confusion[2].sum() / scorer.confusion.sum()
    numbers = (scores["IoU/car"], scores["Acc/car"], share)
    assert row.split()[1:] == [f"{number:.4f}" for number in numbers]
    with open(tmp_path / "evaluation_test_confusion.csv", newline="") as file:
        head, *table = csv.reader(file)
    assert tuple(head[1:]) == tuple(row[0] for row in table) == NAMES
    assert [list(map(int, row[1:])) for row in table] == scorer.confusion.tolist()


def test_prediction_of_another_size_is_refused():
    source = Masks()
    rows = predicted(source)
    rows["segmentation"] = rows["segmentation"][:, :30]
    message = r"'mask4.png': expected the size of its mask, 32x28 px .* got 30x28"
    with pytest.raises(UserError, match=message):
        scored(source, rows)


def test_class_beyond_the_names_is_refused():
    source = Masks()
    rows = predicted(source)
    source.masks[2][0, 0] = 6
    message = "mask of 'mask2.png': expected class ids 0 to 5, or 255 .* got 6"
    with pytest.raises(BadAnnotationError, match=message):
        scored(source, rows)
    source.masks[2][0, 0] = 0
    rows["segmentation"][3, 1, 1] = 9
    source.masks[3][1, 1] = 0
    with pytest.raises(UserError, match="'mask3.png': expected class ids 0 to 5, got 9"):
        scored(source, rows)


class Decoded:
    """The same masks with images."""

    info = Masks.info

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        mask = self.source.masks[index]
        return dict(image=np.zeros((*mask.shape, 3), np.uint8), segmentation=mask)


def test_source_without_annotations_is_read_whole():
    source = Masks()
    rows = predicted(source)
    assert scored(Decoded(source), rows).scores() == scored(source, rows).scores()
