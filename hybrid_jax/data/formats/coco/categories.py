"""The categories of COCO's json: those of one file, and of a split as training has them."""

import dataclasses
import pathlib
import unicodedata

import numpy as np

from hybrid_jax.data.formats.coco.json_file import CocoTable
from hybrid_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Categories:
    """Names and ids of the categories of one file.

    Attributes:
        path: of the file.
        names: K names, by ascending id.
        ids: their ids.
    """

    path: pathlib.Path
    names: tuple[str, ...]
    ids: tuple[int, ...]


def with_labels_of(
    table: CocoTable, trained: Categories, *, path: pathlib.Path
) -> CocoTable:
    """Returns the table with the categories of training, found by their names.

    Files number their categories each in its own way, and leave out those they have no
    object of. Where `table` lacks a category, its id is the one that training has, or the
    next free one if it means another category here.

    Args:
        table: of any split.
        trained: of the training split.
        path: of the file that `table` is from.

    Raises:
        UserError: a category that training does not have; it is named.
    """
    number_of = {_form(name): number for number, name in enumerate(trained.names)}
    unknown = [name for name in table.names if _form(name) not in number_of]
    if unknown:
        raise UserError(
            f"annotations {str(path)!r}: the category {unknown[0]!r} is not among the "
            f"{len(trained.names)} categories of training in {str(trained.path)!r}."
            f"{nearest(unknown[0], trained.names)} Give it the name it has there, add it "
            f"to the categories there, or remove it here."
        )
    label_of = np.array([number_of[_form(name)] for name in table.names], np.int32)
    here = dict(zip(label_of.tolist(), table.category_ids, strict=True))
    taken = set(table.category_ids)
    free = max([*taken, *trained.ids], default=0) + 1
    for label, trained_id in enumerate(trained.ids):
        if label in here:
            continue
        if trained_id in taken:
            trained_id, free = free, free + 1
        here[label] = trained_id
        taken.add(trained_id)
    labels = np.append(label_of, np.int32(-1))[table.labels]
    return dataclasses.replace(
        table,
        names=trained.names,
        category_ids=tuple(here[label] for label in range(len(trained.names))),
        labels=labels,
    )


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())
