"""What an evaluation of a segmenter shows: classes, confusions, best and worst images."""

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Scorer
from hybrid_jax.tasks.findings import SHOWN_CLASSES, SHOWN_PAIRS, Case
from hybrid_jax.tasks.json_predictions import own_pixels
from hybrid_jax.tasks.segmentation.scores import SegmentationScorer

_KEPT = 6  # cases of each kind, whose classes are in memory


class SegmentationFindings:
    """Keeps the best and the worst predictions of a split; its scorer counts pixels.

    Args:
        info: of the split.
    """

    def __init__(self, info: DatasetInfo):
        self._names = tuple(info.segmentation_names)
        self._scorer: SegmentationScorer | None = None
        # (score, -index, classes) and (-score, -index, classes): the smallest leaves first.
        self._best: list[tuple[float, int, np.ndarray]] = []
        self._worst: list[tuple[float, int, np.ndarray]] = []

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        index: np.ndarray,
        *,
        scorer: Scorer | None,
    ) -> None:
        """Adds the output of `Segmentation.predict`."""
        assert isinstance(scorer, SegmentationScorer)
        self._scorer = scorer
        for row, number in enumerate(np.asarray(index).tolist()):
            iou = scorer.image_iou[number]
            if np.isnan(iou):
                continue  # all of it is void
            prediction = {name: value[row] for name, value in predictions.items()}
            classes = np.array(own_pixels(prediction))
            for heap, key in ((self._best, iou), (self._worst, -iou)):
                heapq.heappush(heap, (key, -number, classes))
                if len(heap) > _KEPT:
                    heapq.heappop(heap)

    def facts(self) -> dict[str, Any]:
        """Returns IoU and accuracy of each class and the confusion matrix, in pixels."""
        assert self._scorer is not None
        scores, confusion = self._scorer.scores(), self._scorer.confusion
        rows = [
            [name, pixels, _known(scores[f"IoU/{name}"]), _known(scores[f"Acc/{name}"])]
            for name, pixels in zip(self._names, confusion.sum(1).tolist(), strict=True)
        ]
        wrong = confusion * (1 - np.eye(len(confusion), dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_PAIRS]
        pairs = [divmod(int(n), len(confusion)) for n in order if wrong.flat[n]]
        facts: dict[str, Any] = dict(
            table=dict(columns=["class", "pixels", "IoU", "accuracy"], rows=rows),
            confused=[[self._names[t], self._names[p], int(wrong[t, p])] for t, p in pairs],
        )
        if len(confusion) <= SHOWN_CLASSES:
            facts["confusion"] = dict(
                names=list(self._names), counts=confusion.tolist(), unit="pixels"
            )
        return facts

    def cases(self) -> tuple[list[Case], list[Case]]:
        """Returns the images with the highest and with the lowest mean IoU."""
        best = [
            _case(-number, score=score, classes=classes)
            for score, number, classes in sorted(self._best, reverse=True)
        ]
        worst = [
            _case(-number, score=-score, classes=classes)
            for score, number, classes in sorted(self._worst, reverse=True)
        ]
        return best, worst


def _case(index: int, *, score: float, classes: np.ndarray) -> Case:
    prediction = dict(segmentation=classes, original_hw=np.array(classes.shape))
    return Case(index, score, prediction)


def _known(score: float) -> float | None:
    return None if score < 0 else float(score)
