"""Which features of a TensorFlow data set are image, label, boxes and mask."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_jax.contracts import Example
from hybrid_jax.data.formats.classes import cityscapes as cityscapes_classes
from hybrid_jax.errors import UserError

_IMAGES = ("image", "image_left", "img", "picture", "photo")
_MASKS = (
    *("segmentation", "segmentation_label", "segmentation_mask", "semantic_map"),
    *("annotation", "label_map", "mask"),
)
_IDS = ("image/id", "image_id", "image/filename", "file_name", "id")
_CROWDS = ("is_crowd", "is_difficult")  # neither trained on nor scored
# Masks whose features do not say what their ids mean.
_MASK_NAMES = {
    "cityscapes": cityscapes_classes.CLASSES,
    "oxford_iiit_pet": ("none", "pet", "background", "border"),
    "scene_parse150": tuple(str(number) for number in range(151)),
}
# COCO's categories have 80 ids from 1 to 90; TFDS numbers them on.
_COCO_IDS = tuple(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


@dataclasses.dataclass(frozen=True)
class TfdsFeatures:
    """Names of the features that are read, and what their numbers mean.

    Attributes:
        data_set: name of the data set, without config and version.
        image: key of the image.
        label: key of its class label; None if it has none.
        label_names: of its classes.
        mask: key of the mask; None if it has none.
        mask_names: of its classes; None where only the masks can tell.
        box_names: of the classes of `objects`; empty if there are none with boxes.
        box_category_ids: as in `DatasetInfo`.
        image_hw: the size of all images; None if they differ.
        image_is_encoded: whether images are kept as files are, with a header.
    """

    data_set: str
    image: str
    label: str | None
    label_names: tuple[str, ...]
    mask: str | None
    mask_names: tuple[str, ...] | None
    box_names: tuple[str, ...]
    box_category_ids: tuple[int, ...]
    image_hw: tuple[int, int] | None
    image_is_encoded: bool


def find_features(info: Any, *, name: str) -> TfdsFeatures:
    """Finds them by their usual names.

    Args:
        info: `tfds.core.DatasetInfo`.
        name: of the data, for the message.

    Raises:
        UserError: no image, or neither a label nor boxes nor a mask.
    """
    features = dict(info.features.items())
    image, supervised = _image_and_target(features, info.supervised_keys)
    label = supervised if _is_label(features, supervised) else "label"
    label = label if _is_label(features, label) else None
    masks = [key for key in _MASKS if hasattr(features.get(key), "encoding_format")]
    mask = masks[0] if masks else None
    mask_names = None if mask is None else _mask_names(features[mask], info.name)
    if label and mask_names is None:
        mask = None  # to find out costs time that who wants the label need not spend
    box_names = _box_names(features)
    if image is None or not (label or mask or box_names):
        unusual = ""
        if label is None and supervised in features:
            unusual = f" {supervised!r} is no class label with a known number of classes."
        raise UserError(
            f"data {name!r}: expected an image and a label, boxes or a mask, its features "
            f"are {', '.join(sorted(features))}.{unusual}"
        )
    shape = features[image].shape
    coco = info.name == "coco" and len(box_names) == len(_COCO_IDS)
    return TfdsFeatures(
        data_set=info.name,
        image=image,
        label=label,
        label_names=tuple(features[label].names) if label else (),
        mask=mask,
        mask_names=mask_names,
        box_names=box_names,
        box_category_ids=tuple(sorted(_COCO_IDS)) if coco else (),
        image_hw=tuple(shape[:2]) if all(shape[:2]) else None,
        image_is_encoded=hasattr(features[image], "encoding_format"),
    )


def boxes_in(objects: Mapping[str, Any], *, hw: tuple[int, int]) -> Example:
    """Turns TFDS objects to the keys of an example; none at all come as `[]`.

    Args:
        objects: lists, of `bbox` in shares of the image, y before x, and of more.
        hw: of the image in px.
    """
    boxes_yxyx = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)
    scale = np.array([hw[1], hw[0]] * 2, np.float32)
    count = len(boxes_yxyx)
    read = {
        "boxes_xyxy_px": boxes_yxyx[:, [1, 0, 3, 2]] * scale,
        "box_labels": _column(objects.get("label", [0] * count), np.int32),
    }
    crowds = [_column(objects[key], bool) for key in _CROWDS if key in objects]
    if crowds:
        read["box_crowd"] = np.any(crowds, axis=0)
    if "area" in objects:
        read["box_areas_px"] = _column(objects["area"], np.float32)
    # Some sets have text there; the ids of no objects are of no type.
    if "id" in objects and (not count or np.asarray(objects["id"]).dtype.kind in "iu"):
        read["box_ids"] = _column(objects["id"], np.int64)
    return read


def mask_in(mask: np.ndarray, features: TfdsFeatures) -> np.ndarray:
    """Turns a mask (H, W, 1 or 3) to class ids (H, W) uint8.

    TFDS repeats ids in three channels where a data set does not say that there is one.

    Raises:
        ValueError: the channels differ, or ids do not fit into a byte.
    """
    ids = mask[..., 0]
    if (mask != ids[..., None]).any() or ids.max(initial=0) > 255:
        raise ValueError(f"feature {features.mask!r} holds colors instead of class ids")
    ids = ids.astype(np.uint8)
    cityscapes = features.data_set == "cityscapes"
    return cityscapes_classes.scored_classes(ids) if cityscapes else ids


def image_id_in(record: Mapping[str, Any], *, index: int) -> int | str:
    """Returns what the data set calls the image, or else its number."""
    value = next((record[key] for key in _IDS if key in record), index)
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _image_and_target(
    features: Mapping[str, Any], supervised: Any
) -> tuple[str | None, str | None]:
    pair = supervised if supervised and len(supervised) == 2 else ()
    if pair and all(isinstance(key, str) and key in features for key in pair):
        return pair
    return next((key for key in _IMAGES if key in features), None), None


def _is_label(features: Mapping[str, Any], key: str | None) -> bool:
    if key is None or key not in features:
        return False
    return bool(getattr(features[key], "num_classes", None))


def _mask_names(feature: Any, data_set: str) -> tuple[str, ...] | None:
    names = getattr(feature, "names", None)
    return tuple(names) if names else _MASK_NAMES.get(data_set)


def _box_names(features: Mapping[str, Any]) -> tuple[str, ...]:
    sequence = getattr(features.get("objects"), "feature", None)
    items = getattr(sequence, "items", None)
    objects = {} if items is None else dict(items())
    if "bbox" not in objects:
        return ()
    return tuple(objects["label"].names) if _is_label(objects, "label") else ("object",)


def _column(values: Any, dtype: Any) -> np.ndarray:
    return np.asarray(values, dtype).reshape(-1)
