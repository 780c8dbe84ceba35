"""The annotations of COCO's json as one array for each of their keys."""

from typing import Any

import numpy as np

from hybrid_jax.data.formats.json_values import finite_number, whole_number

_NO_BOX = (float("nan"),) * 4


def object_columns(
    annotations: list[dict], category_ids: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Returns the arrays of `CocoTable` that have a row for each of M annotations.

    Args:
        annotations: as they are in the file, whatever their values are.
        category_ids: label k is the category `category_ids[k]`.
    """
    label_of: dict[int | None, int] = {
        number: label for label, number in enumerate(category_ids)
    }
    known = [whole_number(annotation.get("id")) for annotation in annotations]
    ids = [row + 1 if x is None else x for row, x in enumerate(known)]
    boxes_xywh = np.array([_box(a) for a in annotations], np.float64).reshape(-1, 4)
    corners, sides = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    areas = [finite_number(a.get("area")) for a in annotations]
    missing = np.array([area is None for area in areas], bool)
    areas_px = np.array([area or 0.0 for area in areas], np.float64)
    return dict(
        boxes_xyxy_px=np.concatenate([corners, corners + sides], 1).astype(np.float32),
        labels=np.array(
            [label_of.get(whole_number(a.get("category_id")), -1) for a in annotations],
            np.int32,
        ),
        crowd=np.array([bool(a.get("iscrowd")) for a in annotations], bool),
        ids=np.array(ids, np.int64),
        areas_px=np.where(missing, sides.prod(-1), areas_px).astype(np.float32),
    )


def _box(annotation: dict[str, Any]) -> tuple[float, ...]:
    try:
        x, y, width, height = map(float, annotation["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return _NO_BOX
    return x, y, width, height
