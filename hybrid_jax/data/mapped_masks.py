"""`data.ignore_label` and `data.label_map`: other ids for those in the files of masks."""

import dataclasses
import pathlib

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example, Source
from hybrid_jax.data.formats.classes.mask_classes import numbered_classes
from hybrid_jax.errors import UserError, nearest

_FORM = "'ID:ID,...' or 'ID:NAME,...', such as '34:19,255:person'"


class MappedMasks:
    """A source whose masks have their ids mapped; all else is as it was.

    Ids are those in the files: one that is both mapped and ignored is void. Ids that are
    not mentioned stay as they are. Where the classes are numbered by what the masks of
    training hold, they are numbered anew by what is left of it.

    Args:
        source: with masks.
        ignore_label: ids that become void.
        label_map: `ID:ID` or `ID:NAME`, with commas in between; 255 as the second is void.

    Raises:
        UserError: a text of another form, an id twice or beyond a byte, or an unknown name.

    Attributes:
        info: that of the source, with classes of the new ids.
        first_fault: that of the source, see `CheckedSource`.
        share_digest: that of the source, see `CheckedSource`.
    """

    def __init__(self, source: Source, *, ignore_label: tuple[int, ...], label_map: str):
        self._source = source
        self.first_fault = getattr(source, "first_fault", None)
        self.share_digest: str = getattr(source, "share_digest", "")
        names = source.info.segmentation_names
        self._new_id = np.arange(256, dtype=np.uint8)
        mapping = _mapping(label_map, names)
        if VOID in (*mapping, *ignore_label) and getattr(source, "has_binary_masks", False):
            raise UserError(
                "data.label_map and data.ignore_label: expected ids of masks as they are "
                "read, got 255: these masks hold 0 and 255 alone, and 255 is read as the "
                "class 1. Name 1 in place of 255."
            )
        for old, new in mapping.items():
            self._new_id[old] = new
        self._new_id[list(ignore_label)] = VOID
        held = getattr(source, "mask_ids", None)
        if held is not None and names == numbered_classes(held):
            names = numbered_classes(self._new_id[sorted(held)].tolist())
        self.info: DatasetInfo = dataclasses.replace(source.info, segmentation_names=names)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        """Returns an example of the source; raises the same."""
        return self._mapped(self._source[index])

    def image_file(self, index: int) -> pathlib.Path | None:
        """Returns the file that `image` is decoded from; None if there is none."""
        image_file = getattr(self._source, "image_file", None)
        return image_file(index) if image_file is not None else None

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, see `contracts.Source`; raises the same."""
        annotations = getattr(self._source, "annotations", None)
        if annotations is not None:
            return self._mapped(annotations(index))
        example = self._mapped(self._source[index])
        example["original_hw"] = example.pop("image").shape[:2]
        return example

    def _mapped(self, example: Example) -> Example:
        return {**example, "segmentation": self._new_id[example["segmentation"]]}


def _mapping(text: str, names: tuple[str, ...]) -> dict[int, int]:
    """Returns id in the files -> id of the model."""
    mapping: dict[int, int] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        old, colon, new = (part.strip() for part in pair.partition(":"))
        if not (colon and old.isdecimal() and new):
            raise UserError(
                f"config.data.label_map: expected {_FORM}, got {pair!r} in {text!r}."
            )
        number = int(new) if new.isdecimal() else _number_of(new, names)
        if max(int(old), number) > 255:
            raise UserError(
                f"config.data.label_map: expected ids from 0 to 255, got {pair!r}."
            )
        if int(old) in mapping:
            raise UserError(
                f"config.data.label_map: expected every id once on the left, got {old} "
                f"twice in {text!r}."
            )
        mapping[int(old)] = number
    return mapping


def _number_of(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise UserError(
            f"config.data.label_map: {name!r} is no class of the data."
            f"{nearest(name, names)} It has: {', '.join(names[:20])}; classes.txt beside "
            f"the masks names them."
        )
    return names.index(name)
