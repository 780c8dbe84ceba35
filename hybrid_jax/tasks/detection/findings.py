"""What an evaluation of a detector shows: recall against precision, best and worst."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_jax.contracts import Scorer
from hybrid_jax.tasks.detection.coco_scores import CocoScorer
from hybrid_jax.tasks.detection.matched_boxes import matched
from hybrid_jax.tasks.drawing import SHOWN_SCORE
from hybrid_jax.tasks.findings import Case

_KEPT = 6  # cases of each kind
_SHOWN_CURVES = 12  # classes with a curve of their own
_BINS = 10
_FIELDS = ("boxes_xyxy_px", "scores", "labels")


class DetectionFindings:
    """Collects the boxes of a split; its scorer has the objects."""

    def __init__(self):
        self._found: dict[int, dict[str, np.ndarray]] = {}
        self._scorer: CocoScorer | None = None

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        index: np.ndarray,
        *,
        scorer: Scorer | None,
    ) -> None:
        """Adds the output of `Detection.predict`."""
        assert isinstance(scorer, CocoScorer)
        self._scorer = scorer
        for row, number in enumerate(np.asarray(index).tolist()):
            valid = predictions["valid"][row]
            self._found[number] = {k: predictions[k][row][valid] for k in _FIELDS}

    def facts(self) -> dict[str, Any]:
        """Returns AP and objects of each class, precision by recall, and calibration."""
        assert self._scorer is not None
        names, recalls, precisions = self._scorer.precision_at_half()
        scores, truth = self._scorer.scores(), self._scorer.truth
        by_id = {row["id"]: row["name"] for row in truth["categories"]}
        objects = dict.fromkeys(names, 0)
        for annotation in truth["annotations"]:
            objects[by_id[annotation["category_id"]]] += not annotation["iscrowd"]
        rows = [
            [name, objects[name], _known(scores[f"AP/{name}"]), _known(curve.mean())]
            for name, curve in zip(names, precisions, strict=True)
        ]
        known = [k for k, name in enumerate(names) if objects[name]]
        curves = []
        if known:
            mean = precisions[known].mean(0)
            curves = [["all classes", recalls.tolist(), mean.tolist()]]
        for k in sorted(known, key=lambda k: -objects[names[k]])[:_SHOWN_CURVES]:
            curves.append([names[k], recalls.tolist(), precisions[k].tolist()])
        return dict(
            table=dict(columns=["class", "objects", "AP", "AP50"], rows=rows),
            curves=curves,
            calibration=self._calibration(),
        )

    def cases(self) -> tuple[list[Case], list[Case]]:
        """Returns the best and worst images with objects, by panoptic quality.

        That is the IoU of the pairs over pairs and half of what has no partner (Kirillov et
        al., 2019), of boxes that are drawn: those that score `SHOWN_SCORE`.
        """
        ranked = []
        for number, (pairs, count) in self._matched.items():
            found = self._found[number]
            drawn = found["scores"] >= SHOWN_SCORE
            ious = pairs[drawn]
            hits = np.count_nonzero(ious)
            if count:
                quality = ious.sum() / ((count + drawn.sum()) / 2)
                ranked.append((float(quality), int(hits), number))
        ranked.sort(reverse=True)
        best = [self._case(*row) for row in ranked[:_KEPT] if row[0] > 0.0]
        return best, [self._case(*row) for row in ranked[::-1][:_KEPT]]

    def _case(self, quality: float, hits: int, number: int) -> Case:
        del hits
        found = self._found[number]
        valid = np.ones(len(found["scores"]), bool)
        return Case(number, quality, found | dict(valid=valid))

    @functools.cached_property
    def _matched(self) -> dict[int, tuple[np.ndarray, int]]:
        """Returns for each image the IoU of each box with its object, and all objects."""
        assert self._scorer is not None
        return {
            number: (
                matched(self._found[number], objects=objects),
                len(objects["labels"]),
            )
            for number, objects in self._scorer.objects_by_index().items()
            if number in self._found
        }

    def _calibration(self) -> list[list[float]]:
        """Returns count, mean score and share with a partner of each of 10 bins."""
        rows = self._matched.items()
        empty = [np.zeros(0)]
        scores = np.concatenate([*empty, *(self._found[n]["scores"] for n, _ in rows)])
        right = np.concatenate([*empty, *(pairs > 0 for _, (pairs, _) in rows)])
        place = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
        return [
            [int(here.sum()), float(scores[here].mean()), float(right[here].mean())]
            if (here := place == number).any()
            else [0, 0.0, 0.0]
            for number in range(_BINS)
        ]


def _known(score: float) -> float | None:
    return None if score < 0 else float(score)
