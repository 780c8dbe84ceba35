"""`tfds:NAME`: data sets that TensorFlow Datasets has prepared, without TensorFlow."""

import functools
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.decode import as_rgb
from hybrid_jax.data.lazy import Lazy
from hybrid_jax.data.source_checks import check_location, check_split
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadImageError, UserError

_IMAGE_KEYS = ("image", "img", "picture", "photo")


@SOURCES.register("tfds")
def open_tfds(location: str, *, split: str) -> "TfdsSource":
    """Opens the prepared data set `location`, i.e. NAME[/CONFIG][:VERSION]."""
    check_location("tfds", location=location, example="cifar10")
    return TfdsSource(location, split=split)


class TfdsSource:
    """A prepared data set with an image and a class label.

    Only files are read, in `$TFDS_DATA_DIR` or `~/tensorflow_datasets`; nothing is
    downloaded and no preparation code is run. Examples hold `image` (H, W, 3) uint8 and
    `label`, and boxes if the data set has `objects`.

    Splits are those of the data set, TFDS slices of them such as `train[:50%]`, and:

    - `validation`, if there is none: the last 10 % of `train`, which then means the first
      90 %. `train[:100%]` names all of it, for runs that evaluate on `test`.
    - `test`, if there is none: `validation`. imagenet2012 has one, without labels: evaluate
      on its `validation`.

    Args:
        location: NAME[/CONFIG][:VERSION].
        split: see above.

    Raises:
        UserError: not prepared, prepared in a format without random access, no image or
            label, or no such split.
    """

    def __init__(self, location: str, *, split: str):
        builder = _open_builder(location)
        self._name = f"tfds:{location}"
        self._image_key, self._label_key = _keys(builder.info, name=self._name)
        label = builder.info.features[self._label_key]
        if not getattr(label, "num_classes", None):
            raise UserError(
                f"data {self._name!r}: feature {self._label_key!r} is no class label "
                f"with a known number of classes but {label!r}."
            )
        self.info = DatasetInfo(
            num_classes=label.num_classes, class_names=tuple(label.names)
        )
        tfds_split = _tfds_split(split, tuple(builder.info.splits), name=self._name)
        self._split = split
        self._length = builder.info.splits[tfds_split].num_examples
        self._records = Lazy(functools.partial(_open_records, location, tfds_split))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        """Decodes one example.

        Raises:
            BadImageError: the record cannot be decoded.
            UserError: the format has no random access, or the example has no label.
        """
        # Outside the try: what it raises concerns the data set, not one example.
        records = self._records.get()
        try:
            record = records[index]
            image = as_rgb(np.asarray(record[self._image_key]))
        except (OSError, SyntaxError, ValueError) as error:
            raise BadImageError(
                f"data {self._name!r}: example {index} cannot be read: {error}. Prepare "
                f"the data set again, or pass over it with --config.data.on_bad_image=skip."
            ) from error
        label = int(record[self._label_key])
        self._check_label(label, index=index)
        example = {"image": image, "label": label}
        if "objects" in record and "bbox" in record["objects"]:
            example |= _boxes(record["objects"], image.shape)
        return example

    def _check_label(self, label: int, *, index: int) -> None:
        # -1 is what TFDS writes for a label that is kept secret.
        if not 0 <= label < self.info.num_classes:
            raise UserError(
                f"data {self._name!r}: expected labels from 0 to "
                f"{self.info.num_classes - 1}, example {index} of split {self._split!r} "
                f"has {label}: the split has no labels. Use one that has, such as split "
                f"'validation'."
            )


def _boxes(objects: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Turns TFDS boxes (shares; y before x) to pixels; none at all come as `[]`."""
    boxes_yxyx = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)
    height, width = shape[:2]
    scale = np.array([width, height, width, height], np.float32)
    boxes = {"boxes_xyxy_px": boxes_yxyx[:, [1, 0, 3, 2]] * scale}
    if "label" in objects:
        boxes["box_labels"] = np.asarray(objects["label"], np.int32).reshape(-1)
    return boxes


def _open_builder(location: str):
    # The import takes a second that other data sets need not wait for.
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder
    from tensorflow_datasets.core.utils import file_utils

    # TFDS itself looks at this variable only once, when it is imported.
    data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        # Not tfds.builder(): that runs the data set's own code, and much of it imports
        # TensorFlow, to learn what the prepared files already say.
        return read_only_builder.builder_from_files(location, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        folders = ", ".join(map(str, file_utils.list_data_dirs(given_data_dir=data_dir)))
        raise UserError(
            f"data 'tfds:{location}': found no prepared data set in {folders}. "
            f"Prepare it in an environment with TensorFlow: `tfds build {location} "
            f"--file_format=array_record`; or point TFDS_DATA_DIR to where it is."
        ) from error


def _open_records(location: str, split: str):
    try:
        return _open_builder(location).as_data_source(split=split)
    except (NotImplementedError, ValueError) as error:
        raise UserError(
            f"data 'tfds:{location}' is prepared in a format without random access. "
            f"Prepare it again with `tfds build {location} --file_format=array_record`."
        ) from error


def _keys(info: Any, *, name: str) -> tuple[str, str]:
    """Returns the names of the image and of the label feature."""
    features = tuple(info.features)
    keys = info.supervised_keys
    if keys and len(keys) == 2 and all(isinstance(k, str) and k in features for k in keys):
        return keys
    image = next((key for key in _IMAGE_KEYS if key in features), None)
    if image is None or "label" not in features:
        raise UserError(
            f"data {name!r}: expected an image and a label, its features are "
            f"{', '.join(features)}."
        )
    return image, "label"


def _tfds_split(split: str, available: tuple[str, ...], *, name: str) -> str:
    """Returns the TFDS instruction that `split` stands for."""
    named = dict(zip(available, available, strict=True))
    if "validation" not in named and "train" in named:
        named |= {"train": "train[:90%]", "validation": "train[90%:]"}
    named.setdefault("test", named.get("validation", "test"))
    word = re.split(r"[\[+]", split)[0]
    if word in available and word != split:
        return split
    check_split(name, split=split, splits=sorted(named))
    return named[split]
