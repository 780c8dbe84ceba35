"""Names of the classes of published weights."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

_IMAGENET_CLASSES = 1000


def published_names(path: pathlib.Path, *, count: int) -> tuple[str, ...]:
    """Returns the names of a file's classes, in the order of its outputs.

    They are those of `config.json` next to the file (transformers' `id2label`, timm's
    `label_names`). A file of 1,000 classes without them is one of ImageNet-1k, whose names
    tensorflow_datasets has. Any other's names are its numbers.

    Args:
        path: of the weights.
        count: how many classes the file has.
    """
    names = _beside(path.parent / "config.json")
    if len(names) == count:
        return names
    if count == _IMAGENET_CLASSES:
        # Imported here because it takes seconds.
        from tensorflow_datasets.datasets.siscore.labels import IMAGENET_LABELS_LIST

        return tuple(IMAGENET_LABELS_LIST)
    return tuple(map(str, range(count)))


def _beside(path: pathlib.Path) -> tuple[str, ...]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    if not isinstance(content, dict):
        return ()
    configured = content.get("pretrained_cfg")
    both = content | (configured if isinstance(configured, dict) else {})
    names = both.get("label_names")
    if isinstance(names, list):
        described: Any = both.get("label_descriptions")
        described = described if isinstance(described, Mapping) else {}
        return tuple(str(described.get(name, name)) for name in names)
    numbered = both.get("id2label")
    if isinstance(numbered, dict):
        try:
            return tuple(str(numbered[str(k)]) for k in range(len(numbered)))
        except KeyError:
            return ()
    return ()
