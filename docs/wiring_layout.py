"""Where the boxes and the lines of a wiring lie, in px of a drawing 360 px wide.

The ResNet, what the fusion adds and the ViT have a lane each. Boxes run downwards: each
lies below all that it reads. Lines between lanes, and past a box of their own lane, run in
the gutters between lanes, on one track for each box that they come from.
"""

import dataclasses

from merged_wiring import in_order, readings
from traced_wiring import IMAGE, Path, Wiring
from wiring_text import BoxText

WIDTH = 360.0
BOX = 100.0
BAR = 24.0  # height of the image's bar
LEAST_BAR = 180.0  # its width around its text
ROW_GAP = 18.0
TOP = 30.0  # below the names of the lanes
_LANES = ("resnet", "fusion", "vit")

Line = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """A rectangle: left, top, width and height in px."""

    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """Returns the y of its lower side."""
        return self.y + self.height

    @property
    def center(self) -> float:
        """Returns the x of its middle."""
        return self.x + self.width / 2


@dataclasses.dataclass(frozen=True)
class Layout:
    """A drawing without its texts.

    Attributes:
        lanes: part -> x of the middle of its lane.
        places: of all boxes, and of the bar of the image.
        lines: (from, to) -> its corners; the last one is the tip of an arrow.
        bottom: y below which there is nothing yet.
    """

    lanes: dict[str, float]
    places: dict[Path, Place]
    lines: dict[tuple[Path, Path], Line]
    bottom: float


def laid_out(wiring: Wiring, texts: dict[Path, BoxText]) -> Layout:
    """Places the boxes of a merged wiring and routes its lines.

    Args:
        texts: what stands in each box, which gives its height.
    """
    used = [lane for lane in _LANES if any(u.part == lane for u in wiring.units.values())]
    space = (WIDTH - len(used) * BOX) / (len(used) + 1)
    gutter = min(space, 46.0) if len(used) < 3 else (WIDTH - 3 * BOX - 6.0) / 2
    left = (WIDTH - len(used) * BOX - (len(used) - 1) * gutter) / 2
    lanes = {lane: left + BOX / 2 + i * (BOX + gutter) for i, lane in enumerate(used)}
    rows = _rows(wiring)
    places, bottom = _places(wiring, texts, rows, lanes)
    routes = _Routes(wiring, places, list(lanes.values()), gutter)
    return Layout(lanes, places, routes.lines(), bottom)


def _rows(wiring: Wiring) -> dict[Path, int]:
    """Returns the row of each unit: below what it reads, and alone in its lane."""
    rows: dict[Path, int] = {IMAGE: 0}
    taken = set()
    for path in in_order(wiring):
        row = 1 + max((rows[source] for source in readings(wiring, path)), default=0)
        lane = wiring.units[path].part
        while (lane, row) in taken:
            row += 1
        taken.add((lane, row))
        rows[path] = row
    return rows


def _places(wiring, texts, rows, lanes) -> tuple[dict[Path, Place], float]:
    last_row = max(rows.values())
    left = min(min(lanes.values()) - BOX / 2, (WIDTH - LEAST_BAR) / 2)
    places = {IMAGE: Place(left, TOP, WIDTH - 2 * left, BAR)}
    y = TOP + BAR + ROW_GAP
    for row in range(1, last_row + 1):
        here = [path for path in wiring.units if rows[path] == row]
        for path in here:
            x = lanes[wiring.units[path].part] - BOX / 2
            places[path] = Place(x, y, BOX, texts[path].height)
        y += max((texts[path].height for path in here), default=-ROW_GAP) + ROW_GAP
    return places, y - ROW_GAP


class _Routes:
    """Finds a way for every line."""

    def __init__(self, wiring, places, centers, gutter):
        self._wiring, self._places = wiring, places
        self._centers, self._gutter = centers, gutter
        # Gutter -> what runs in it: source -> (top, bottom).
        self._runs: dict[int, dict[Path, tuple[float, float]]] = {}

    def lines(self) -> dict[tuple[Path, Path], Line]:
        """Returns the corners of every line."""
        edges = sorted(self._wiring.edges, key=lambda e: (self._places[e[1]].y, str(e)))
        bent = [edge for edge in edges if not self._is_straight(*edge)]
        for source, target in bent:
            for gutter, top, bottom in self._uses(source, target):
                known = self._runs.setdefault(gutter, {}).get(source, (top, bottom))
                span = min(top, known[0]), max(bottom, known[1])
                self._runs[gutter][source] = span
        tracks = {gutter: self._tracks(gutter) for gutter in self._runs}
        lines = {}
        for edge in edges:
            lines[edge] = self._bent(*edge, tracks) if edge in bent else self._down(*edge)
        return lines

    def _lane(self, path: Path) -> int:
        return self._centers.index(self._places[path].center)

    def _is_straight(self, source: Path, target: Path) -> bool:
        """Says whether nothing lies between the two, in one lane."""
        a, b = self._places[source], self._places[target]
        if source != IMAGE and a.center != b.center:
            return False
        between = [p for p in self._places.values() if a.bottom < p.y < b.y]
        return all(p.center != b.center for p in between)

    def _down(self, source: Path, target: Path) -> Line:
        a, b = self._places[source], self._places[target]
        return (b.center, a.bottom), (b.center, b.y)

    def _gutters(self, source: Path, target: Path) -> list[int]:
        """Returns the gutters a line runs in; gutter i lies to the right of lane i."""
        end = self._lane(target)
        last = max(len(self._centers) - 2, 0)
        if source == IMAGE or self._lane(source) == end:
            return [min(end, last)]
        start = self._lane(source)
        return (
            list(range(start, end)) if start < end else list(range(start - 1, end - 1, -1))
        )

    def _uses(self, source: Path, target: Path):
        a, b = self._places[source], self._places[target]
        begin = a.bottom if source == IMAGE else _gives(a)
        gutters = self._gutters(source, target)
        if len(gutters) == 1:
            return [(gutters[0], begin, _takes(b))]
        above = b.y - ROW_GAP / 3
        return [(gutters[0], begin, above), (gutters[1], above, _takes(b))]

    def _tracks(self, gutter: int) -> dict[Path, float]:
        """Returns the x of each source's track, such that no two lie on one another."""
        runs = sorted(self._runs[gutter].items(), key=lambda run: run[1])
        ends: list[float] = []
        chosen = {}
        for source, (top, bottom) in runs:
            free = [i for i, end in enumerate(ends) if end + 4 < top]
            track = free[0] if free else len(ends)
            ends[track:] = [*([] if free else [bottom]), *ends[track:]]
            ends[track] = bottom
            chosen[source] = track
        left = self._centers[gutter] + BOX / 2
        step = self._gutter / (len(ends) + 1)
        return {source: left + step * (track + 1) for source, track in chosen.items()}

    def _bent(self, source: Path, target: Path, tracks) -> Line:
        a, b = self._places[source], self._places[target]
        gutters = self._gutters(source, target)
        xs = [tracks[gutter][source] for gutter in gutters]
        begin = (xs[0], a.bottom)
        corners = [begin]
        if source != IMAGE:
            side = a.x + a.width if xs[0] > a.center else a.x
            corners = [(side, _gives(a)), (xs[0], _gives(a))]
        if len(xs) > 1:
            above = b.y - ROW_GAP / 3
            corners += [(xs[0], above), (xs[1], above)]
        side = b.x + b.width if xs[-1] > b.center else b.x
        return (*corners, (xs[-1], _takes(b)), (side, _takes(b)))


def _gives(place: Place) -> float:
    """Returns the y at which lines leave the side of a box."""
    return place.y + 0.72 * place.height


def _takes(place: Place) -> float:
    """Returns the y at which lines reach the side of a box."""
    return place.y + 0.28 * place.height
