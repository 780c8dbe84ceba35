"""What one example is in a batch: fields of fixed shapes and types."""

from collections.abc import Sequence

import numpy as np

from hybrid_jax.contracts import VOID
from hybrid_jax.data.transforms.resize import Resize
from hybrid_jax.data.transforms.sample import Sample, sample_of

Row = dict[str, np.ndarray | np.generic]
"""One row of a `contracts.Batch`: arrays, and numpy scalars for fields of shape (B,)."""


def batch_fields(
    sample: Sample, *, targets: Sequence[str], max_boxes: int, faulty: int = 0
) -> Row:
    """Returns a sample as the fields of one row of a `contracts.Batch`.

    Args:
        sample: after all transforms.
        targets: of "label", "boxes" and "segmentation".
        max_boxes: M, rows for boxes; of more the largest are kept.
        faulty: annotations that were left out.
    """
    sample = sample.with_boxes_cut()
    fields: Row = dict(image=np.ascontiguousarray(sample.image))
    if "label" in targets:
        assert sample.label is not None
        fields["label"] = np.int32(sample.label)
    if "boxes" in targets:
        fields |= _box_fields(sample, max_boxes=max_boxes)
    if "segmentation" in targets:
        assert sample.mask is not None
        fields["segmentation"] = np.ascontiguousarray(sample.mask)
    if "boxes" in targets or "segmentation" in targets:
        fields |= dict(
            original_hw=np.asarray(sample.original_hw, np.int32),
            scale_yx=np.asarray(sample.scale_yx, np.float32),
            offset_yx=np.asarray(sample.offset_yx, np.float32),
            content_yxyx_px=np.asarray(sample.content_yxyx_px, np.int32),
            faulty=np.int32(faulty),
        )
    return fields


def empty_fields(hw: tuple[int, int], *, targets: Sequence[str], max_boxes: int) -> Row:
    """Returns fields of the same keys and types that hold nothing: black and void.

    Args:
        hw: (height, width) of the images of the batch in px.
        targets: as for `batch_fields`.
        max_boxes: as for `batch_fields`.
    """
    nothing = dict(
        image=np.zeros((1, 1, 3), np.uint8),
        label=0,
        boxes_xyxy_px=np.zeros((0, 4), np.float32),
        box_labels=np.zeros(0, np.int32),
        segmentation=np.full((1, 1), VOID, np.uint8),
    )
    sample = Resize(hw, "bilinear")(sample_of(nothing, targets), None)
    return batch_fields(sample, targets=targets, max_boxes=max_boxes)


def _box_fields(sample: Sample, *, max_boxes: int) -> Row:
    boxes, labels = sample.boxes_xyxy_px, sample.box_labels
    assert boxes is not None
    assert labels is not None
    dropped = max(0, len(boxes) - max_boxes)
    if dropped:
        # The largest are kept: they are seen best.
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        chosen = np.sort(np.argsort(-areas, kind="stable")[:max_boxes])
        boxes, labels = boxes[chosen], labels[chosen]
    padded_boxes = np.zeros((max_boxes, 4), np.float32)
    padded_boxes[: len(boxes)] = boxes
    padded_labels = np.zeros(max_boxes, np.int32)
    padded_labels[: len(boxes)] = labels
    return dict(
        boxes_xyxy_px=padded_boxes,
        box_labels=padded_labels,
        box_mask=np.arange(max_boxes) < len(boxes),
        dropped=np.int32(dropped),
        cut_off=np.int32(sample.cut_off),
        vanished=np.int32(sample.vanished),
    )
