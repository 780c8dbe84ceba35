"""Which columns of a Hugging Face data set hold image, label and boxes.

The layouts: huggingface.co/docs/datasets, "Create an image dataset".
"""

import dataclasses
from typing import Any

from hybrid_jax.data.formats.classes.class_names import in_order

_IMAGES = ("image", "img")
_LABELS = ("label", "labels", "fine_label")
_CATEGORIES = ("category", "categories")


@dataclasses.dataclass(frozen=True)
class HfColumns:
    """The columns that are read, and the names of classes in the order of training.

    Attributes:
        image: of files or their bytes.
        label: of a class each; "" if there is none.
        class_names: of `label`.
        category: below `objects`, a class for each box; "" if there are no boxes.
        box_names: of `category`.
    """

    image: str
    label: str
    class_names: tuple[str, ...]
    category: str
    box_names: tuple[str, ...]


def columns_of(rows: Any) -> HfColumns:
    """Returns the columns of a `datasets.Dataset`.

    Labels are classes of the data set, or texts and numbers, whose classes are those that
    its rows have.

    Raises:
        ValueError: there is no image, or neither label nor boxes; lists what there is.
    """
    features = rows.features
    images = [name for name in features if _kind(features[name]) == "Image"]
    image = next((name for name in (*_IMAGES, *images) if name in images), "")
    classes = [name for name in features if _kind(features[name]) == "ClassLabel"]
    label = next((n for n in (*_LABELS, *classes) if n in features and n not in images), "")
    class_names = _names(features.get(label))
    if label and not class_names:
        class_names = in_order(map(str, rows.unique(label)))
    objects = features.get("objects")
    inner = objects if isinstance(objects, dict) and "bbox" in objects else {}
    named = {key: _names(getattr(inner[key], "feature", None)) for key in inner}
    category = next((key for key in _CATEGORIES if named.get(key)), "")
    if not image or not (label or category):
        found = ", ".join(f"{name} ({_kind(kind)})" for name, kind in features.items())
        raise ValueError(
            f"expected a column of images and one of labels ({', '.join(_LABELS)}), or "
            f"`objects` with bbox and category (classes), got {found}"
        )
    return HfColumns(image, label, class_names, category, named.get(category, ()))


def names_of_codes(rows: Any, columns: HfColumns) -> tuple[list[str], list[str]]:
    """Returns what the numbers in `label` and `category` of these rows are called.

    Empty where they are no numbers of classes, or there is no such column.
    """
    features = rows.features
    label = list(_names(features.get(columns.label)))
    if not columns.category:
        return label, []
    category = features["objects"][columns.category]
    return label, list(_names(category.feature))


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _names(feature: Any) -> tuple[str, ...]:
    return tuple(feature.names) if _kind(feature) == "ClassLabel" else ()
