"""Matching of a file's arrays with a model's by names and shapes, then reading them.

Matching uses only shapes, so that all mismatches are known before arrays are read or
anything is compiled. Reading is array by array, so that the host has one of them in memory.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from hybrid_jax.errors import UserError
from hybrid_jax.ops.positions import resize_grid
from hybrid_jax.pretrained.dialect import Entry, Stored
from hybrid_jax.pretrained.load_report import Report, Row

Shapes = Mapping[str, tuple[int, ...]]

_POSITION = "backbone/vit/position"


@dataclasses.dataclass(frozen=True)
class Fill:
    """The arrays of one file that a model loads, and the report on all arrays.

    Attributes:
        stored: the file's arrays.
        entries: the entries with arrays that the model loads.
        taken: model path -> shape, for every path that `arrays` yields.
        report: arrays that are loaded, resized, new and dropped.
        resize: resizing method of position tables.
        classes: index of the file's class for each class of the model; None for all classes
            in order.
    """

    stored: Stored
    entries: tuple[Entry, ...]
    taken: Shapes
    report: Report
    resize: str
    classes: tuple[int, ...] | None

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields model paths and their float32 arrays, entry by entry.

        Raises:
            UserError: the file is damaged, or an array holds NaN.
        """
        for entry in self.entries:
            read = entry.codec.read(*[self.stored[key].read() for key in entry.keys])
            for path, array in zip(map(model_path, entry.paths), read, strict=True):
                if path in self.taken:
                    yield path, self._fitted(path, np.asarray(array, np.float32))

    def _fitted(self, path: str, array: np.ndarray) -> np.ndarray:
        shape = self.taken[path]
        if _is_classifier(path) and self.classes is not None:
            # A column after the classes, for "no object", is kept.
            end = array.shape[-1]
            more = range(end - (shape[-1] - len(self.classes)), end)
            return np.take(array, (*self.classes, *more), axis=-1)
        if path == _POSITION and array.shape != shape:
            hw = shape[0], shape[1]
            return np.asarray(resize_grid(jnp.asarray(array), hw, method=self.resize))
        return array


def match(
    stored: Stored,
    entries: Iterable[Entry],
    targets: Shapes,
    *,
    resize: str,
    parts: Sequence[str] = ("resnet", "vit", "head"),
    head: str = "auto",
    classes: tuple[int, ...] | None = None,
) -> Fill:
    """Matches the arrays of a file with those of a model.

    Args:
        stored: the tidied arrays of a file.
        entries: the entries of its dialect.
        targets: path -> shape of all arrays of the model, including running statistics.
        resize: resizing method of position tables, see `resize_grid`.
        parts: the parts to load from the file; one part to load only that half.
        head: "auto" loads the classifier if the number of classes is equal; "new" does not.
        classes: index of the file's class for each class of the model, whose rows of the
            classifier are loaded.

    Raises:
        UserError: an array with a shape that its entry cannot convert.
    """
    taken, used, kept, rows = {}, set(), [], []
    absent: dict[str, tuple[str, ...]] = {}  # path -> the keys that should hold it
    for entry in entries:
        missing = tuple(key for key in entry.keys if key not in stored)
        if entry.paths[0].split("/")[0] not in parts:
            used.update(entry.keys)
            continue
        if missing:
            absent |= dict.fromkeys(map(model_path, entry.paths), missing)
            continue
        used.update(entry.keys)
        found = [
            _row(model_path(path), shape, entry, targets, head, classes)
            for path, shape in zip(entry.paths, _read_shapes(stored, entry), strict=True)
        ]
        rows += found
        fitting = [row.path for row in found if row.action in ("loaded", "resized")]
        taken |= {path: targets[path] for path in fitting}
        kept += [entry] if fitting else []
    rows += _left_over(stored, used) + _left_new(targets, rows, absent)
    return Fill(stored, tuple(kept), taken, Report(tuple(rows)), resize, classes)


def _left_over(stored: Stored, used: set[str]) -> list[Row]:
    """Returns a row for every array of the file that no entry uses."""
    return [
        Row(action="dropped", path=key, file_shape=array.shape, why="unknown name")
        for key, array in stored.items()
        if key not in used
    ]


def _left_new(targets: Shapes, rows: list[Row], absent: dict) -> list[Row]:
    """Returns a row for every array of the model that is not in the file."""
    decided = {row.path for row in rows}
    return [
        Row(
            action="new",
            path=path,
            shape=shape,
            keys=absent.get(path, ()),
            why="not in the file",
        )
        for path, shape in targets.items()
        if path not in decided
    ]


def _row(path, shape, entry, targets, head, classes) -> Row:
    """Returns the row of one array of the file: loaded, resized, new or dropped."""
    common = dict(path=path, file_shape=shape, keys=entry.keys)
    wanted = targets.get(path)
    if wanted is None:
        return Row(action="dropped", why="not in the model", **common)
    common["shape"] = wanted
    if _is_classifier(path):
        fits = len(wanted) == len(shape) and wanted[:-1] == shape[:-1]
        if classes is not None and fits and wanted[-1] - len(classes) in (0, 1):
            return Row(action="loaded", why="classes chosen", **common)
        if head == "new":
            return Row(action="new", why="head=new", **common)
        if shape != wanted and fits:
            why = f"{shape[-1]:,} classes in the file"
            return Row(action="new", why=why, **common)
    if shape == wanted:
        return Row(action="loaded", **common)
    if path == _POSITION and len(shape) == 3 and shape[-1] == wanted[-1]:
        return Row(action="resized", **common)
    return Row(action="new", why="other shape in the file", **common)


def _read_shapes(stored: Stored, entry: Entry) -> list[tuple[int, ...]]:
    """Returns the shapes of the converted arrays of an entry, without reading them."""
    shapes = [stored[key].shape for key in entry.keys]
    try:
        # Untouched pages of np.empty take no memory.
        read = entry.codec.read(*[np.empty(shape, np.float32) for shape in shapes])
    except (ValueError, LookupError, TypeError) as error:
        found = ", ".join(f"{key} {s}" for key, s in zip(entry.keys, shapes, strict=True))
        raise UserError(
            f"{found}: cannot be converted to {' and '.join(entry.paths)} ({error}). The "
            f"file is damaged or holds another model. Use another file."
        ) from error
    return [array.shape for array in read]


def _is_classifier(path: str) -> bool:
    return path.startswith("head/") and "/logits/" in path


def model_path(path: str) -> str:
    """Returns the path in a whole model of an entry's path."""
    return path if path.startswith("head/") else f"backbone/{path}"
