"""A source whose examples have been checked, with masks numbered from the first class."""

import dataclasses
import pathlib

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example, Source
from hybrid_jax.data.checks.annotations import check_annotations
from hybrid_jax.data.checks.image_and_label import check_image, check_label


class CheckedSource:
    """The examples of a source with usable annotations alone (see `check_annotations`).

    Of an example whose image or label is not what it should be there is nothing to leave
    out: it cannot be given at all (see `check_image`, `check_label`).
    Who trains and who scores see the same: `faulty` of an example counts what was left out,
    and `faults` says why (see `Fault`).
    Where the source cannot give an example at all, its `BadAnnotationError` is passed on,
    and the pipeline takes it or leaves it (see `ExampleLoader`).

    Args:
        source: any. If it has `first_fault`, a `BadAnnotationError` or
            None, that is of the first of the examples it already knows it cannot give.
        skip: whether to leave out what is faulty; otherwise it raises.
        called: the data and the split in words, for messages.
        reduce_zero_label: whether 0 of masks becomes void and 1, 2, ... the classes 0, 1,
            ... ADE20K's masks are of this kind: 0 is all that is not among the 150 classes.
            Void stays void. The names lose the first one.

    Attributes:
        info: that of the source, with the names that are left.
        share_digest: of which examples are a share (`ExampleShare`); "" for all.

    Raises:
        BadAnnotationError: `first_fault`, at once, if nothing is to be skipped.
    """

    def __init__(
        self,
        source: Source,
        *,
        skip: bool,
        called: str = "the data",
        reduce_zero_label: bool = False,
    ):
        fault = getattr(source, "first_fault", None)
        if fault is not None and not skip:
            raise fault
        self._source = source
        self._skip = skip
        self._called = called
        self._reduce_zero_label = reduce_zero_label
        self.share_digest: str = getattr(source, "share_digest", "")
        self.info: DatasetInfo = source.info
        if reduce_zero_label:
            names = source.info.segmentation_names[1:]
            self.info = dataclasses.replace(source.info, segmentation_names=names)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        """Returns example `index` with `faulty` and `faults`.

        Raises:
            BadImageError: the file of this example cannot be read, or the image is not
                (H, W, 3) uint8.
            BadAnnotationError: something is faulty and nothing is to be skipped, the label
                is none of the classes, or the source has no annotation to check.
        """
        return self._checked(self._source[index], index)

    def image_file(self, index: int) -> pathlib.Path | None:
        """Returns the file that `image` is decoded from; None if there is none."""
        image_file = getattr(self._source, "image_file", None)
        return image_file(index) if image_file is not None else None

    def annotations(self, index: int) -> Example:
        """Returns the same without `image` and with `original_hw`, (height, width) in px.

        The image is decoded only if the source cannot do without.

        Raises:
            BadImageError, BadAnnotationError: as `[index]`.
        """
        without_image = getattr(self._source, "annotations", None)
        if without_image is not None:
            return self._checked(without_image(index), index)
        example = dict(self[index])
        example["original_hw"] = example.pop("image").shape[:2]
        return example

    def _checked(self, example: Example, index: int) -> Example:
        info = self._source.info
        where = f"{self._called}, example {index}"
        check_image(example, where=where)
        check_label(example, info=info, where=where)
        example, faults = check_annotations(example, info=info, skip=self._skip)
        faulty = sum(fault.count for fault in faults)
        example = {**example, "faulty": faulty, "faults": faults}
        if self._reduce_zero_label:
            mask = example["segmentation"]
            # Counting down in bytes takes 0 to 255 by itself.
            example["segmentation"] = np.where(mask == VOID, mask, mask - np.uint8(1))
        return example
