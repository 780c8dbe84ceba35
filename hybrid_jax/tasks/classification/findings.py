"""What an evaluation of a classifier shows: mistakes, classes, calibration."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Scorer
from hybrid_jax.tasks.classification.calibration import NUM_BINS
from hybrid_jax.tasks.findings import SHOWN_CLASSES, SHOWN_PAIRS, Case

_KEPT = 8  # cases of each kind


class ClassificationFindings:
    """Collects the most probable classes of a split beside its labels.

    Args:
        info: of the split.
    """

    def __init__(self, info: DatasetInfo):
        self._names = tuple(info.class_names or map(str, range(info.num_classes)))
        self._rows: list[dict[str, np.ndarray]] = []

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        index: np.ndarray,
        *,
        scorer: Scorer | None,
    ) -> None:
        """Adds the output of `Classification.predict`, with `true_label` (b,)."""
        del scorer
        self._rows.append(
            dict(
                index=np.asarray(index),
                label=np.asarray(predictions["true_label"]),
                top_labels=np.asarray(predictions["top_labels"]),
                top_probabilities=np.asarray(predictions["top_probabilities"]),
            )
        )

    def facts(self) -> dict[str, Any]:
        """Returns the scores of each class, the confusion matrix and the calibration."""
        rows = self._all()
        label, predicted = rows["label"], rows["top_labels"][:, 0]
        pairs, counts = np.unique(np.stack([label, predicted]), axis=1, return_counts=True)
        facts = dict(
            table=self._by_class(label, predicted),
            confused=self._confused(pairs, counts),
            calibration=_calibration(rows["top_probabilities"][:, 0], label == predicted),
        )
        K = len(self._names)
        if K <= SHOWN_CLASSES:
            confusion = np.zeros((K, K), np.int64)
            confusion[pairs[0], pairs[1]] = counts
            facts["confusion"] = dict(
                names=list(self._names), counts=confusion.tolist(), unit="images"
            )
        return facts

    def cases(self) -> tuple[list[Case], list[Case]]:
        """Returns the surest right predictions and the surest wrong ones.

        Their score is the probability of the predicted class. Where nothing is wrong, the
        worst are those that are least sure.
        """
        rows = self._all()
        sure = rows["top_probabilities"][:, 0].astype(np.float64)
        right = rows["top_labels"][:, 0] == rows["label"]
        order = np.argsort(np.where(right, sure, -sure), kind="stable")
        worst, best = order[:_KEPT], order[::-1][:_KEPT]
        return [self._case(rows, n) for n in best if right[n]], [
            self._case(rows, n) for n in worst
        ]

    def _case(self, rows: Mapping[str, np.ndarray], n: int) -> Case:
        row = {name: value[n] for name, value in rows.items()}
        return Case(int(row["index"]), float(row["top_probabilities"][0]), row)

    def _all(self) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([rows[name] for rows in self._rows])
            for name in self._rows[0]
        }

    def _by_class(self, label: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
        K = len(self._names)
        there, said = np.bincount(label, minlength=K), np.bincount(predicted, minlength=K)
        right = np.bincount(label[label == predicted], minlength=K)
        rows = [
            [name, int(n), _share(hits, n), _share(hits, m), _share(2 * hits, n + m)]
            for name, n, m, hits in zip(self._names, there, said, right, strict=True)
        ]
        return dict(columns=["class", "images", "recall", "precision", "F1"], rows=rows)

    def _confused(self, pairs: np.ndarray, counts: np.ndarray) -> list[list[Any]]:
        """Returns the wrong pairs (true, predicted, count), the most frequent first."""
        wrong = np.flatnonzero(pairs[0] != pairs[1])
        order = wrong[np.argsort(-counts[wrong], kind="stable")][:SHOWN_PAIRS]
        return [
            [self._names[pairs[0, n]], self._names[pairs[1, n]], int(counts[n])]
            for n in order
        ]


def _calibration(confidence: np.ndarray, correct: np.ndarray) -> list[list[float]]:
    """Returns count, mean confidence and share correct of each of 15 bins."""
    place = np.clip((confidence * NUM_BINS).astype(int), 0, NUM_BINS - 1)
    return [
        [int(here.sum()), float(confidence[here].mean()), float(correct[here].mean())]
        if (here := place == number).any()
        else [0, 0.0, 0.0]
        for number in range(NUM_BINS)
    ]


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
