"""Mean IoU and pixel accuracies from a confusion matrix."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from hybrid_jax.contracts import VOID, Source
from hybrid_jax.errors import BadAnnotationError, UserError
from hybrid_jax.tasks.ground_truth import ground_truth

_ABSENT = -1.0


class SegmentationScorer:
    """Computes the confusion matrix of a split at the original resolution.

    The scores are those of mmsegmentation: from sums over the whole split, not means over
    images. Void pixels (255) are left out.

    Args:
        source: the split of the predictions.

    Attributes:
        confusion: (K, K) int64, pixels by true class (rows) and predicted class (columns).
        image_iou: index -> mean IoU of the classes in one image's mask or prediction; NaN
            if all of its mask is void.
    """

    def __init__(self, source: Source):
        self._source = source
        self._names = tuple(source.info.segmentation_names)
        self.confusion = np.zeros((len(self._names),) * 2, np.int64)
        self.image_iou: dict[int, float] = {}

    def add(self, predictions: Mapping[str, np.ndarray], index: np.ndarray) -> None:
        """Adds the output of `Segmentation.predict` for the examples `index` (b,).

        Raises:
            UserError: a prediction smaller than its mask, or an unknown class in either.
        """
        rows = zip(predictions["segmentation"], predictions["original_hw"], strict=True)
        for (canvas, (height, width)), number in zip(rows, index, strict=True):
            example = ground_truth(self._source, int(number))
            truth, predicted = example["segmentation"], canvas[:height, :width]
            if truth.shape != predicted.shape:
                raise UserError(
                    f"prediction for {_where(example, number)}: expected the size of its "
                    f"mask, {truth.shape[0]}x{truth.shape[1]} px (height x width), got "
                    f"{predicted.shape[0]}x{predicted.shape[1]}. Set "
                    f"config.task.segmentation.canvas to the (height, width) of the "
                    f"largest image or more, and check that the mask has the size of its "
                    f"image."
                )
            counts = self._counted(truth, predicted, example, number)
            self.confusion += counts
            iou, _ = _by_class(counts)
            known = iou[~np.isnan(iou)]
            self.image_iou[int(number)] = float(known.mean()) if known.size else np.nan

    def scores(self) -> dict[str, float]:
        """Returns mIoU, mAcc, aAcc, and `IoU/<name>` and `Acc/<name>` of each class.

        aAcc is the fraction of correct pixels. The IoU of a class is -1 if it is neither in
        the masks nor in the predictions, its accuracy is -1 if it is not in the masks; mIoU
        and mAcc are means over the other classes (-1 if there are none).
        """
        iou, accuracy = _by_class(self.confusion)
        right, total = self.confusion.trace(), self.confusion.sum()
        scores = dict(mIoU=_mean(iou), mAcc=_mean(accuracy))
        scores["aAcc"] = float(right / total) if total else _ABSENT
        for kind, values in (("IoU", iou), ("Acc", accuracy)):
            for name, value in zip(self._names, values, strict=True):
                scores[f"{kind}/{name}"] = _ABSENT if np.isnan(value) else float(value)
        return scores

    def write(self, stem: Any) -> None:
        """Writes `<stem>_iou.txt`, a table, and `<stem>_confusion.csv`, in pixels."""
        stem, scores = epath.Path(stem), self.scores()
        width = max(map(len, ("class", *self._names)))
        lines = [f"{name}  {scores[name]:6.4f}" for name in ("mIoU", "mAcc", "aAcc")]
        lines += ["", f"{'class':{width}}     IoU     Acc   share of pixels"]
        total = max(self.confusion.sum(), 1)
        for name, pixels in zip(self._names, self.confusion.sum(1), strict=True):
            lines.append(
                f"{name:{width}}  {scores[f'IoU/{name}']:6.4f}  "
                f"{scores[f'Acc/{name}']:6.4f}  {pixels / total:6.4f}"
            )
        (stem.parent / f"{stem.name}_iou.txt").write_text("\n".join(lines) + "\n")
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("true class \\ predicted class", *self._names))
        for name, counts in zip(self._names, self.confusion.tolist(), strict=True):
            rows.writerow((name, *counts))
        (stem.parent / f"{stem.name}_confusion.csv").write_text(table.getvalue())

    def _counted(
        self, truth: np.ndarray, predicted: np.ndarray, example: Mapping, number: int
    ) -> np.ndarray:
        """Returns the (K, K) counts of one image."""
        # (true, predicted) as one uint16.
        pairs = truth.astype(np.uint16) * 256 + predicted.astype(np.uint16)
        counts = np.bincount(pairs.ravel(), minlength=65536).reshape(256, 256)
        counts, classes = counts[:VOID], len(self._names)
        if counts[classes:].any():
            wrong = int(np.flatnonzero(counts.sum(1))[-1])
            raise BadAnnotationError(
                f"mask of {_where(example, number)}: expected class ids 0 to "
                f"{classes - 1}, or {VOID} for void, got {wrong}. Correct the mask, or "
                f"see config.data.reduce_zero_label."
            )
        if counts[:, classes:].any():
            raise UserError(
                f"prediction for {_where(example, number)}: expected class ids 0 to "
                f"{classes - 1}, got {int(np.flatnonzero(counts.sum(0))[-1])}. Use a model "
                f"with {classes} classes."
            )
        return counts[:classes, :classes]


def _by_class(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns IoU and accuracy (K,) float64 of a confusion matrix, NaN for 0 / 0."""
    right = confusion.diagonal()
    true, predicted = confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):
        return right / (true + predicted - right), right / true


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else _ABSENT


def _where(example: Mapping, number: int) -> str:
    return repr(str(example.get("where", example.get("image_id", f"example {number}"))))
