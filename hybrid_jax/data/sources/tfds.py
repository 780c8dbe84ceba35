"""`tfds:NAME`: data sets that TensorFlow Datasets has prepared, without TensorFlow."""

import functools
import io
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.classes.mask_classes import (
    BINARY_NOTE,
    are_binary,
    ids_of,
    numbered_classes,
    unseen_ids_note,
)
from hybrid_jax.data.formats.decoding.decode import as_rgb
from hybrid_jax.data.formats.tfds_features import (
    boxes_in,
    find_features,
    image_id_in,
    mask_in,
)
from hybrid_jax.data.load_once import LoadOnce
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadImageError, UserError


@SOURCES.register("tfds")
def open_tfds(location: str, *, split: str) -> "TfdsSource":
    """Opens the prepared data set `location`, i.e. NAME[/CONFIG][:VERSION]."""
    check_location("tfds", location=location, example="cifar10")
    return TfdsSource(location, split=split)


class TfdsSource:
    """A prepared data set with an image and a class label, boxes or a mask.

    Only files are read, in `$TFDS_DATA_DIR` or `~/tensorflow_datasets`; nothing is
    downloaded and no preparation code is run. Examples hold `image` (H, W, 3) uint8 and,
    of these, what the data set has: `label`; boxes, if there are `objects`; and
    `segmentation`. Masks of cityscapes are turned to its 19 scored classes; those of
    scene_parse150 want `data.reduce_zero_label`. Where nothing says what a mask's ids are,
    and there is no label, all masks of the train split are read once, see `ids_of`.

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
            nothing to learn about it, or no such split.
    """

    def __init__(self, location: str, *, split: str):
        builder = _open_builder(location)
        self._name = f"tfds:{location}"
        self._features = features = find_features(builder.info, name=self._name)
        tfds_split = _tfds_split(split, tuple(builder.info.splits), name=self._name)
        self._split = split
        self._length = builder.info.splits[tfds_split].num_examples
        opened = functools.partial(_open_records, location, tfds_split)
        self._records = LoadOnce(opened)
        header = functools.partial(opened, undecoded=features.image)
        self._headers = LoadOnce(header) if features.image_is_encoded else self._records
        mask_names, notes = features.mask_names or (), ()
        self.mask_ids: frozenset[int] | None = None
        self.has_binary_masks = False
        if features.mask and not mask_names:
            self.mask_ids = self._ids_of_training(location, builder)
            self.has_binary_masks = are_binary(self.mask_ids)
            if self.has_binary_masks:
                self.mask_ids, notes = frozenset({0, 1}), (BINARY_NOTE,)
            mask_names = numbered_classes(self.mask_ids)
            notes += unseen_ids_note(self.mask_ids)
        self.info = DatasetInfo(
            num_classes=len(features.label_names),
            class_names=features.label_names,
            box_names=features.box_names,
            box_category_ids=features.box_category_ids,
            segmentation_names=mask_names,
            largest_hw=features.image_hw,
            notes=notes,
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        """Decodes one example.

        Raises:
            BadImageError: the record cannot be decoded.
            UserError: the format has no random access, or the example has no label.
        """
        return self._read(index, self._records, image_or_size=_image)

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, of which only the header is read.

        Raises the same, but for pixels that only decoding finds broken.
        """
        return self._read(index, self._headers, image_or_size=_size)

    def _read(
        self,
        index: int,
        opened: LoadOnce,
        *,
        image_or_size: Callable[[Any], tuple[Example, tuple[int, int]]],
    ) -> Example:
        # Outside the try: what it raises concerns the data set, not one example.
        records = opened.get()
        features = self._features
        try:
            record = records[index]
            example, hw = image_or_size(record[features.image])
            if features.mask:
                example["segmentation"] = self._mask(record[features.mask])
        except (OSError, SyntaxError, ValueError) as error:
            raise BadImageError(
                f"data {self._name!r}: example {index} cannot be read: {error}. Prepare "
                f"the data set again, or pass over it with --config.data.on_bad_image=skip."
            ) from error
        if features.label:
            example["label"] = int(record[features.label])
            self._check_label(example["label"], index=index)
        if features.box_names:
            example |= boxes_in(record["objects"], hw=hw)
        example["image_id"] = image_id_in(record, index=index)
        return example | {"where": f"{self._name}, {self._split}, example {index}"}

    def _mask(self, stored: np.ndarray) -> np.ndarray:
        ids = mask_in(stored, self._features)
        return np.where(ids == VOID, np.uint8(1), ids) if self.has_binary_masks else ids

    def _ids_of_training(self, location: str, builder: Any) -> frozenset[int]:
        features = self._features
        key = features.mask
        assert key is not None  # else there are no ids to look for
        undecoded = features.image if features.image_is_encoded else None
        records = _open_records(location, "train", undecoded=undecoded)
        return ids_of(
            len(records),
            lambda index: mask_in(records[index][key], features),
            state=lambda: os.fsencode(f"{builder.data_path}\0{len(records)}"),
        )

    def _check_label(self, label: int, *, index: int) -> None:
        # -1 is what TFDS writes for a label that is kept secret.
        if not 0 <= label < self.info.num_classes:
            raise UserError(
                f"data {self._name!r}: expected labels from 0 to "
                f"{self.info.num_classes - 1}, example {index} of split {self._split!r} "
                f"has {label}: the split has no labels. Use one that has, such as split "
                f"'validation'."
            )


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


def _image(stored: np.ndarray) -> tuple[Example, tuple[int, int]]:
    image = as_rgb(np.asarray(stored))
    return {"image": image}, image.shape[:2]


def _size(stored: bytes | np.ndarray) -> tuple[Example, tuple[int, int]]:
    if isinstance(stored, bytes):
        # As it is stored: TFDS turns no image upright when it decodes one.
        with Image.open(io.BytesIO(stored)) as image:
            width, height = image.size
    else:
        height, width = np.shape(stored)[:2]
    return {"original_hw": (height, width)}, (height, width)


def _open_records(location: str, split: str, *, undecoded: str | None = None):
    """Opens records for random access; the feature `undecoded` comes as it is stored."""
    from tensorflow_datasets import decode

    decoders = {undecoded: decode.SkipDecoding()} if undecoded else None
    try:
        return _open_builder(location).as_data_source(
            split=split,  # pyright: ignore[reportCallIssue]
            decoders=decoders,
        )
    except (NotImplementedError, ValueError) as error:
        raise UserError(
            f"data 'tfds:{location}' is prepared in a format without random access. "
            f"Prepare it again with `tfds build {location} --file_format=array_record`."
        ) from error


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
