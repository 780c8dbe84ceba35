"""`check_<split>.png`: samples of a split with their annotations, to be looked at."""

import collections
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hybrid_jax.checking.example_facts import ExampleFacts
from hybrid_jax.contracts import Source
from hybrid_jax.tasks.drawing import draw_lines
from hybrid_jax.tasks.drawn_truth import draw_truth

_COLUMNS, _ROWS = 5, 4
_SIDE_PX = 400  # the longer one of every picture
_MARGIN_PX = 8
_NAME_CHARS = 48  # of an example's name, its end


def write_contact_sheet(
    path: pathlib.Path, source: Source, *, facts: Sequence[ExampleFacts], target: str
) -> None:
    """Draws up to 20 examples of a split into one PNG.

    Args:
        path: of the file.
        source: of the split.
        facts: of its examples.
        target: "label", "boxes" or "segmentation".
    """
    cells = []
    common = _common(facts) if target == "segmentation" else None
    for one in samples(facts, count=_COLUMNS * _ROWS):
        picture = draw_truth(
            source[one.index],
            source.info,
            target=target,
            side_px=_SIDE_PX,
            uncolored=common,
        )
        left_out = sum(fault.count for fault in one.faults)
        lines = [one.name[-_NAME_CHARS:]]
        lines += [f"{left_out} faulty annotations left out"] if left_out else []
        cells.append(draw_lines(picture, lines))
    if cells:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_joined(cells)).save(path)


def samples(facts: Sequence[ExampleFacts], *, count: int) -> list[ExampleFacts]:
    """Returns some examples that can be read, in order: of every class, if they suffice.

    The same for the same data: they are drawn by a fixed seed.
    """
    read = [one for one in facts if one.hw]
    order = np.random.default_rng(0).permutation(len(read)).tolist()
    seen: set[int] = set()
    first, others = [], []
    for number in order:
        classes = {label for label, _ in read[number].amounts}
        (others if classes <= seen else first).append(number)
        seen |= classes
    return [read[number] for number in sorted((first + others)[:count])]


def _common(facts: Sequence[ExampleFacts]) -> int | None:
    """Returns the class of more than half of all pixels, whose color would hide most."""
    pixels: collections.Counter[int] = collections.Counter()
    for one in facts:
        pixels.update(dict(one.amounts))
    most = pixels.most_common(1)
    return most[0][0] if most and 2 * most[0][1] > pixels.total() else None


def _joined(cells: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the pictures row by row on white, each row as high as its highest."""
    rows = [cells[i : i + _COLUMNS] for i in range(0, len(cells), _COLUMNS)]
    heights = [max(cell.shape[0] for cell in row) + _MARGIN_PX for row in rows]
    pitch = max(cell.shape[1] for cell in cells) + _MARGIN_PX
    width = pitch * max(map(len, rows))
    sheet = np.full((sum(heights) + _MARGIN_PX, width + _MARGIN_PX, 3), 255, np.uint8)
    top = _MARGIN_PX
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = _MARGIN_PX + column * pitch
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        top += height
    return sheet
