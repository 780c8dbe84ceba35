"""The detection task, for dense heads and for set-prediction heads."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.contracts import DatasetInfo, Mean, Scorer, Source
from hybrid_jax.errors import UserError
from hybrid_jax.ops.boxes import convert_boxes, mirrored_boxes, original_boxes
from hybrid_jax.outputs import DenseDetectionOutputs, SetDetectionOutputs
from hybrid_jax.tasks import TASKS
from hybrid_jax.tasks.detection.coco_scores import CocoScorer
from hybrid_jax.tasks.detection.dense_detection import dense_candidates, dense_loss
from hybrid_jax.tasks.detection.findings import DetectionFindings
from hybrid_jax.tasks.detection.nms import nms
from hybrid_jax.tasks.detection.set_detection import set_candidates, set_loss
from hybrid_jax.tasks.drawing import draw_boxes
from hybrid_jax.tasks.json_predictions import boxes_to_json
from hybrid_jax.tasks.label_options import refuse_label_options

DetectionOutputs = DenseDetectionOutputs | SetDetectionOutputs


@TASKS.register("detection")
class Detection:
    """Losses of dense and set heads; predictions in original px; COCO's average precision.

    Args:
        task: the `task` branch of a config.
        info: classes of the data set.

    Raises:
        UserError: an option that is for classification only.
    """

    targets = ("boxes",)
    main_score = "AP"

    def __init__(self, task: Mapping[str, Any], info: DatasetInfo):
        refuse_label_options(task, name="detection")
        self.task = task
        self.info = info

    @staticmethod
    def num_classes(info: DatasetInfo) -> int:
        """Returns the number of classes of objects.

        Raises:
            UserError: the data has no boxes.
        """
        if not info.box_names:
            raise UserError(
                "config.task.name: 'detection' needs boxes with classes, but the data has "
                "no boxes. Choose another data.name, e.g. coco:IMAGES,JSON, or task.name."
            )
        return len(info.box_names)

    def infer(
        self, model: Callable[..., DetectionOutputs], image: jax.Array, **options: Any
    ) -> DetectionOutputs:
        """Applies the model once."""
        return model(image, **options)

    def augment(
        self, batch: Mapping[str, jax.Array], *, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Flips images, boxes and content left to right with probability `flip`.

        `scale_yx` and `offset_yx` are not changed.

        Args:
            batch: with `image` (B, H, W, 3) normalized floats.
        """
        rate = self.task["flip"]
        if not rate:
            return dict(batch)
        image, content = batch["image"], batch["content_yxyx_px"]
        width = image.shape[2]
        flipped = jax.random.bernoulli(key, rate, (image.shape[0],))
        mirrored = dict(
            image=image[:, :, ::-1],
            boxes_xyxy_px=mirrored_boxes(batch["boxes_xyxy_px"], width_px=width),
            content_yxyx_px=convert_boxes(
                mirrored_boxes(convert_boxes(content, "yxyx", "xyxy"), width_px=width),
                "xyxy",
                "yxyx",
            ),
        )
        changed = {
            name: jnp.where(
                flipped.reshape(-1, *[1] * (value.ndim - 1)), value, batch[name]
            )
            for name, value in mirrored.items()
        }
        return dict(batch, **changed)

    def loss(self, outputs: DetectionOutputs, batch: Mapping[str, jax.Array]) -> Mean:
        """Returns the loss of a dense head or of a set head, by the type of the outputs."""
        if isinstance(outputs, DenseDetectionOutputs):
            return dense_loss(outputs, batch, self.task["detection"])
        return set_loss(outputs, batch, self.task["detection"])

    def metrics(
        self, outputs: DetectionOutputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns sums: `count` images, `loss`, and `loss_count`, its denominator."""
        loss = self.loss(outputs, batch)
        count = jnp.sum(batch["mask"], dtype=jnp.float32)
        return dict(count=count, loss=loss.total, loss_count=loss.count)

    def summarize(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the mean `loss`, as in training, and `count`, the number of images."""
        loss = float(sums["loss"]) / max(float(sums["loss_count"]), 1.0)
        return dict(loss=loss, count=int(sums["count"]))

    def draw(self, image_u8: np.ndarray, prediction: Mapping[str, Any]) -> np.ndarray:
        """Draws boxes with high scores over the image (H, W, 3) in its original size."""
        found = np.flatnonzero(prediction["valid"])
        return draw_boxes(
            image_u8,
            prediction["boxes_xyxy_px"][found],
            labels=prediction["labels"][found],
            scores=prediction["scores"][found],
            names=self.info.box_names,
        )

    def to_json(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the boxes with class names, best first."""
        return boxes_to_json(prediction, names=self.info.box_names)

    def scorer(self, source: Source) -> Scorer:
        """Returns the scorer of COCO's average precision."""
        return CocoScorer(source)

    def findings(self, source: Source) -> DetectionFindings:
        """Returns what an evaluation of a split is to show."""
        del source  # its scorer has it
        return DetectionFindings()

    def predict(
        self, outputs: DetectionOutputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns the best D = `max_detections` boxes of each image, best first.

        Boxes of dense heads are filtered by non-maximum suppression. Each pair of a query
        and a class of a set head is a detection.

        Args:
            batch: with the geometry of `contracts.Batch`.

        Returns:
            `boxes_xyxy_px` (B, D, 4) float32 in px of the original image, clipped to it;
            `scores` (B, D), `labels` (B, D) int32, `valid` (B, D) bool. Rows that are not
            valid are zero.
        """
        options, room = self.task["detection"], self.task["detection"]["max_detections"]
        if isinstance(outputs, DenseDetectionOutputs):
            boxes, scores = dense_candidates(outputs)
            found = _best(boxes, scores, count=options["nms_candidates"])
        else:
            boxes, scores = set_candidates(outputs)
            found = _best(boxes, scores, count=room)
        boxes, scores, labels = found
        valid = scores >= options["score_threshold"]
        if isinstance(outputs, DenseDetectionOutputs):
            valid = nms(boxes, labels, valid=valid, iou_threshold=options["nms_iou"])
        placed = original_boxes(
            boxes,
            scale_yx=batch["scale_yx"],
            offset_yx=batch["offset_yx"],
            original_hw=batch["original_hw"],
        )
        # Boxes in the padding have no area after clipping.
        valid &= jnp.all(placed[..., 2:] > placed[..., :2], axis=-1)
        rows = dict(boxes_xyxy_px=placed, scores=scores, labels=labels, valid=valid)
        return _packed(rows, room=room)


def _best(
    boxes: jax.Array, scores: jax.Array, *, count: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns boxes (B, C, 4), scores and labels (B, C) of the best pairs, best first."""
    B, N, K = scores.shape
    scores, pairs = jax.lax.top_k(scores.reshape(B, N * K), min(count, N * K))
    boxes = jnp.take_along_axis(boxes, (pairs // K)[..., None], axis=1)
    return boxes, scores, (pairs % K).astype(jnp.int32)


def _packed(rows: dict[str, jax.Array], *, room: int) -> dict[str, jax.Array]:
    """Returns the first `room` valid rows, in their order, and zeros after them."""
    valid = rows["valid"]
    spare = max(0, room - valid.shape[1])
    order = jnp.argsort(~valid, axis=1, stable=True)[:, :room]
    valid = jnp.pad(jnp.take_along_axis(valid, order, axis=1), ((0, 0), (0, spare)))

    def pack(value: jax.Array) -> jax.Array:
        flat = value.reshape(*value.shape[:2], -1)
        flat = jnp.take_along_axis(flat, order[..., None], axis=1)
        flat = jnp.pad(flat, ((0, 0), (0, spare), (0, 0)))
        flat = jnp.where(valid[..., None], flat, jnp.zeros((), flat.dtype))
        return flat.reshape(*flat.shape[:2], *value.shape[2:])

    return {name: pack(value) for name, value in rows.items()}
