"""`shapes` and `shapes128`: the generated data set, at 64 and at 128 px."""

import contextlib
import functools
import os
import pathlib
import sys
from typing import Any

import numpy as np
import tqdm

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_no_location, check_split
from hybrid_jax.data.load_once import LoadOnce
from hybrid_jax.data.shapes import shapes
from hybrid_jax.data.sources import SOURCES

_PER_IMAGE = ("image", "label", "texture", "layout", "segmentation", "instances")
_PER_BOX = ("boxes_xyxy_px", "box_labels", "box_textures")


@SOURCES.register("shapes")
def open_shapes(location: str, *, split: str) -> "ShapesSource":
    """Opens `shapes` at 64 px; it takes no location."""
    check_no_location("shapes", location=location)
    return ShapesSource(split=split, size_px=64)


@SOURCES.register("shapes128")
def open_shapes128(location: str, *, split: str) -> "ShapesSource":
    """Opens `shapes` at 128 px; it takes no location."""
    check_no_location("shapes128", location=location)
    return ShapesSource(split=split, size_px=128)


class ShapesSource:
    """One split of `shapes` in memory, drawn on first use and kept on disk.

    Examples hold what `shapes.draw_example` returns. The file lies in
    `$HYBRID_JAX_DATA/shapes`, or `~/.cache/hybrid_jax/shapes`; without a place to write,
    every process draws its own copy. The 8,000 training images take 20 to 30 s at 64 px
    on one core, four times that at 128 px.

    Args:
        split: one of `hybrid_jax.data.shapes.shapes.SPLITS`.
        size_px: side of the images.
        num_examples: how many to draw; `None` for the whole split.

    Raises:
        UserError: another split.
    """

    def __init__(self, *, split: str, size_px: int, num_examples: int | None = None):
        check_split("shapes", split=split, splits=shapes.SPLITS)
        if num_examples is None:
            num_examples = shapes.SPLITS[split].num_examples
        self.info = _info(size_px)
        self._num_examples = num_examples
        self._arrays = LoadOnce(functools.partial(_load, split, size_px, num_examples))

    def __len__(self) -> int:
        return self._num_examples

    def __getitem__(self, index: int) -> Example:
        if not -self._num_examples <= index < self._num_examples:
            raise IndexError(f"example {index} of {self._num_examples}")
        index %= self._num_examples
        arrays = self._arrays.get()
        example = {key: arrays[key][index] for key in _PER_IMAGE}
        for key in ("label", "texture", "layout"):
            example[key] = int(example[key])
        boxes = slice(*arrays["box_offsets"][index : index + 2])
        example |= {key: arrays[key][boxes] for key in _PER_BOX}
        return example | {"image_id": index, "where": f"shapes, example {index}"}

    def labeled_names(self) -> list[tuple[int, str]]:
        """Returns the label and the number of each example."""
        return [(int(label), str(n)) for n, label in enumerate(self._arrays.get()["label"])]


def _info(size_px: int) -> DatasetInfo:
    return DatasetInfo(
        num_classes=16,
        class_names=tuple(f"{t}/{n}" for t in shapes.TEXTURES for n in shapes.LAYOUTS),
        factors={
            "texture": tuple(label // 4 for label in range(16)),
            "layout": tuple(label % 4 for label in range(16)),
        },
        box_names=shapes.KINDS,
        segmentation_names=("background", *shapes.KINDS),
        largest_hw=(size_px, size_px),
    )


def cache_path(split: str, *, size_px: int, num_examples: int) -> pathlib.Path:
    """Returns where a split is kept, whether or not it is there yet."""
    root = os.environ.get("HYBRID_JAX_DATA") or pathlib.Path.home() / ".cache/hybrid_jax"
    name = f"v{shapes.SPEC_VERSION}_{size_px}px_{split}_{num_examples}.npz"
    return pathlib.Path(root).expanduser() / "shapes" / name


def _load(split: str, size_px: int, num_examples: int) -> dict[str, np.ndarray]:
    path = cache_path(split, size_px=size_px, num_examples=num_examples)
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    arrays = _draw(split, size_px, num_examples)
    _save(path, arrays)
    return arrays


def _draw(split: str, size_px: int, num_examples: int) -> dict[str, np.ndarray]:
    numbers = tqdm.tqdm(
        range(num_examples),
        desc=f"drawing shapes {split}",
        leave=False,
        disable=not sys.stderr.isatty(),
    )
    spec = shapes.SPLITS[split]
    examples = [shapes.draw_example(i, split=spec, size_px=size_px) for i in numbers]
    arrays = {key: np.stack([e[key] for e in examples]) for key in _PER_IMAGE}
    arrays |= {key: np.concatenate([e[key] for e in examples]) for key in _PER_BOX}
    counts = [len(e["box_labels"]) for e in examples]
    return arrays | {"box_offsets": np.concatenate([[0], np.cumsum(counts)])}


def _save(path: pathlib.Path, arrays: dict[str, Any]) -> None:
    """Writes the file whole or not at all: several processes may draw at once."""
    part = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, **arrays)
        os.replace(part, path)
    except OSError:  # read-only or full: the arrays in memory serve as well
        with contextlib.suppress(OSError):
            part.unlink()
