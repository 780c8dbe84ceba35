"""The wiring of a fusion with fewer boxes: what says nothing by itself is merged."""

import dataclasses
from collections.abc import Iterable

from traced_wiring import IMAGE, Path, Unit, Wiring


def merged(wiring: Wiring) -> Wiring:
    """Returns a wiring without circles, in the order in which it runs.

    - Units that read one another become one: a bottleneck and the attention inside it.
    - What sees no image and serves one unit, as a table of positions, becomes part of it.
    - Units of one kind that follow each other, with no other reader, become one.
    """
    wiring = _without_circles(wiring)
    wiring = _without_tables(wiring)
    while pair := _pair_in_a_row(wiring):
        wiring = _joined(wiring, pair)
    return dataclasses.replace(
        wiring, units={path: wiring.units[path] for path in in_order(wiring)}
    )


def in_order(wiring: Wiring) -> list[Path]:
    """Returns the units, each after all that it reads."""
    left, order = set(wiring.units), []
    while left:
        ready = [
            path
            for path in wiring.units
            if path in left and not readings(wiring, path) & left
        ]
        assert ready, "a wiring without circles has a next unit"
        order += ready
        left -= set(ready)
    return order


def readings(wiring: Wiring, path: Path) -> set[Path]:
    """Returns what a unit reads, of units and `IMAGE`."""
    return {a for a, b in wiring.edges if b == path}


def readers(wiring: Wiring, path: Path) -> set[Path]:
    """Returns the units and the names of outputs that read a unit."""
    outputs = {(name,) for name, paths in wiring.outputs.items() if path in paths}
    return outputs | {b for a, b in wiring.edges if a == path}


def _without_circles(wiring: Wiring) -> Wiring:
    while circle := _circle(wiring):
        # The part of the ResNet or the ViT gives the name.
        circle.sort(key=lambda path: (wiring.units[path].part == "fusion", path))
        wiring = _joined(wiring, circle)
    return wiring


def _circle(wiring: Wiring) -> list[Path] | None:
    """Returns units that all read one another, if there are any."""
    reach = {path: _reached(wiring, path) for path in wiring.units}
    for path, reached in reach.items():
        if path in reached:
            return [other for other in reached if path in reach[other]]
    return None


def _reached(wiring: Wiring, start: Path) -> set[Path]:
    found, new = set(), {start}
    while new:
        new = {b for a, b in wiring.edges if a in new} - found
        found |= new
    return found


def _without_tables(wiring: Wiring) -> Wiring:
    seeing = _reached(wiring, IMAGE)
    for path in [path for path in wiring.units if path not in seeing]:
        read_by = readers(wiring, path)
        if len(read_by) == 1 and read_by <= set(wiring.units):
            (reader,) = read_by
            wiring = _joined(wiring, (reader, path))
    return wiring


def _pair_in_a_row(wiring: Wiring) -> tuple[Path, Path] | None:
    for path, unit in wiring.units.items():
        read_by = readers(wiring, path)
        if len(read_by) != 1 or not read_by <= set(wiring.units):
            continue
        (after,) = read_by
        alike = (wiring.units[after].kind, wiring.units[after].notes)
        allowed = readings(wiring, path) | {path}
        if alike == (unit.kind, unit.notes) and readings(wiring, after) <= allowed:
            return path, after
    return None


def _joined(wiring: Wiring, paths: Iterable[Path]) -> Wiring:
    """Returns a wiring with some units as one, named after the first."""
    first, *others = paths
    units = [wiring.units[path] for path in (first, *others)]
    gone = dict.fromkeys(others, first)
    edges = {(gone.get(a, a), gone.get(b, b)) for a, b in wiring.edges}
    return dataclasses.replace(
        wiring,
        units={p: u for p, u in wiring.units.items() if p not in gone}
        | {first: _one(units)},
        edges=frozenset((a, b) for a, b in edges if a != b),
        outputs={
            name: frozenset(gone.get(path, path) for path in sources)
            for name, sources in wiring.outputs.items()
        },
    )


def _one(units: list[Unit]) -> Unit:
    first, *others = units
    unlike = [unit.name for unit in others if unit.kind != first.kind and unit.is_module]
    same = [unit for unit in units if unit.kind == first.kind]
    return dataclasses.replace(
        first,
        paths=tuple(path for unit in same for path in unit.paths),
        shapes=same[-1].shapes,
        notes=tuple(dict.fromkeys((*first.notes, *unlike))),
    )
