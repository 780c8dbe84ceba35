"""What stands in the boxes of a wiring: words of the field, and shapes by stride."""

import dataclasses
import re
import textwrap

from traced_wiring import Path, Unit, Wiring

LINE_PX, SMALL_PX, PILL_PX, PAD_PX = 15.0, 13.0, 19.0, 6.0
_COLUMNS = 12  # letters of a name in one line
_SMALL_COLUMNS = 16
# Layers that say nothing of what they are for; their place in the fusion does.
_LAYERS = {"Linear", "Conv", "ConvNorm", "LinearGeneral", "Einsum", "Embed"}


@dataclasses.dataclass(frozen=True)
class BoxText:
    """The lines of a box and the labels of what the head gets from it."""

    name: tuple[str, ...]
    small: tuple[str, ...]
    outputs: tuple[tuple[str, ...], ...]

    @property
    def height(self) -> float:
        """Returns the height of the box in px."""
        lines = LINE_PX * len(self.name) + SMALL_PX * len(self.small)
        return 2 * PAD_PX + lines + PILL_PX * len(self.outputs)


def box_texts(wiring: Wiring) -> dict[Path, BoxText]:
    """Returns the text of every unit of a merged wiring."""
    texts = {}
    for path, unit in wiring.units.items():
        outputs = [name for name, paths in wiring.outputs.items() if path in paths]
        shape = shape_text(unit, wiring.image_hw)
        notes = [f"with {words(name)}" for name in unit.notes]
        times = [f"{len(unit.paths)} in a row"] * (_is_own(unit) and len(unit.paths) > 1)
        small = [shape] if len(shape) <= _SMALL_COLUMNS else shape.split(" · ")
        small = [line for line in small if line] + times + notes
        texts[path] = BoxText(
            tuple(textwrap.wrap(name_of(unit), _COLUMNS)),
            tuple(line for text in small for line in textwrap.wrap(text, _SMALL_COLUMNS)),
            tuple(_rows_of(outputs)),
        )
    return texts


def name_of(unit: Unit) -> str:
    """Returns what a box is called."""
    path = unit.paths[0]
    if unit.part == "resnet":
        return f"stage {path[2] + 1}" if path[1] == "stages" else words(unit.name)
    if path[1:2] == ("blocks",) and unit.part == "vit":
        first, last = path[2] + 1, unit.paths[-1][2] + 1
        return f"block {first}" if first == last else f"blocks {first}–{last}"
    if path[1:2] == ("embed",) and unit.part == "vit":
        return "patches"
    if not unit.is_module:
        return f"learned {words(unit.name)}"
    place = words(str(unit.kind[-1]))
    return re.sub("s$", "", place) if unit.name in _LAYERS else words(unit.name)


def _is_own(unit: Unit) -> bool:
    return unit.part == "fusion"


def words(name: str) -> str:
    """Returns a name of the code as words: RelativeAttention, MRFP, to_vit."""
    parts = re.split(r"_|(?<=[a-z]{3})(?=[A-Z])", name)
    return " ".join(part if part.isupper() else part.lower() for part in parts)


def shape_text(unit: Unit, image_hw: tuple[int, int]) -> str:
    """Returns what a unit gives: a map by its stride, or tokens; "" if it is both."""
    maps = {shape for shape in unit.shapes if len(shape) == 3}
    rows = {shape for shape in unit.shapes if len(shape) == 2}
    if rows and not maps and len(rows) == 1:
        ((count, width),) = rows
        return f"{count} tokens · {width}"
    if not maps or rows:
        return ""
    height, _, channels = max(maps, key=lambda shape: shape[-1])
    if _is_own(unit) and len({shape[:2] for shape in maps}) > 1:
        return f"{channels} channels"
    return f"stride {image_hw[0] // height} · {channels}"


def _rows_of(labels: list[str]) -> list[tuple[str, ...]]:
    """Shares the labels out over lines that fit into a box."""
    rows: list[tuple[str, ...]] = []
    for label in labels:
        if rows and sum(map(label_width, (*rows[-1], label))) + 3 * len(rows[-1]) <= 94:
            rows[-1] += (label,)
        else:
            rows.append((label,))
    return rows


def label_width(label: str) -> float:
    """Returns the width in px of the label of an output."""
    return 6.4 * len(label) + 9
