"""A drawing of the wiring of every fusion, as SVG.

    python docs/fusion_diagrams.py FOLDER [MODULE ...]

writes FOLDER/<fusion>.svg for each; modules that register fusions of your own are imported
before. `site_pages.py` puts the drawings into `fusions.md`.
"""

import functools
import importlib
import pathlib
import sys
from html import escape

from flax import nnx
from merged_wiring import merged, readings
from traced_wiring import IMAGE, Path, Wiring, traced_wiring
from wiring_layout import TOP, WIDTH, Line, Place, laid_out
from wiring_text import (
    LINE_PX,
    PAD_PX,
    PILL_PX,
    SMALL_PX,
    BoxText,
    box_texts,
    label_width,
    name_of,
)

import hybrid_jax
from hybrid_jax.models.fusions import FUSIONS

# R26 + ViT-B/16 at 224 px, with one bottleneck in each stage and four transformer blocks.
MODEL = "r26_vit_b16"
SIZE_PX = 224
RESNET_OPTIONS = dict(blocks=(1, 1, 1, 1))
VIT_OPTIONS = dict(depth=4)

_TITLES = {"resnet": "ResNet", "fusion": "fusion", "vit": "ViT"}
# Told apart by people with any color vision, on white and on black.
_COLORS = {"resnet": "#3c86c6", "fusion": "#2d9d78", "vit": "#d07a1c"}
_ALONE = (
    "<style>svg{color:#1f2328;background:#fff}"
    "@media(prefers-color-scheme:dark){svg{color:#e6edf3;background:#0d1117}}</style>"
)
_FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


@functools.cache
def wiring_of(name: str) -> Wiring:
    """Returns the wiring of a registered fusion, merged."""
    return merged(traced_wiring(fusion_of(name), image_hw=(SIZE_PX, SIZE_PX)))


@functools.cache
def fusion_of(name: str) -> nnx.Module:
    """Returns a registered fusion as it is drawn, its arrays only shapes."""

    def build():
        return hybrid_jax.create_model(
            MODEL,
            num_classes=1,
            image_size=SIZE_PX,
            fusion=name,
            resnet_options=RESNET_OPTIONS,
            vit_options=VIT_OPTIONS,
        )

    return nnx.eval_shape(build).backbone


def diagram(name: str, *, alone: bool = False) -> str:
    """Returns the SVG of a registered fusion.

    Args:
        alone: for a file of its own, with the colors of the system's light or dark scheme;
            otherwise it has the color of the text around it.
    """
    wiring = wiring_of(name)
    texts = box_texts(wiring)
    layout = laid_out(wiring, texts)
    legend, height = _legend(wiring, layout.bottom + 22)
    parts = [
        f"<title>Wiring of {escape(name)}</title>",
        f"<desc>{escape(told(wiring))}</desc>",
        _ALONE if alone else "",
        *(_lane(part, x) for part, x in layout.lanes.items()),
        *(_line(line, _color(wiring, edge[0])) for edge, line in layout.lines.items()),
        _bar(layout.places[IMAGE], f"image · {SIZE_PX} × {SIZE_PX} px"),
        *(
            _box(layout.places[path], texts[path], _color(wiring, path), unit.paths)
            for path, unit in wiring.units.items()
        ),
        legend,
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" '
        f'width="{1.25 * WIDTH:g}" role="img" style="max-width:100%;height:auto;{_FONT}" '
        f'fill="currentColor">\n' + "\n".join(filter(None, parts)) + "\n</svg>\n"
    )


def told(wiring: Wiring) -> str:
    """Returns the wiring in words, for those who do not see the drawing."""
    names = {path: name_of(unit) for path, unit in wiring.units.items()} | {IMAGE: "image"}
    order = [IMAGE, *wiring.units]
    lines = []
    for path in wiring.units:
        read = sorted(readings(wiring, path), key=order.index)
        if read:
            lines.append(f"{names[path]} reads {', '.join(names[p] for p in read)}")
    for output, sources in wiring.outputs.items():
        what = output if output == "pooled" else f"map of stride {output}"
        made = " and ".join(names[p] for p in sorted(sources, key=order.index))
        lines.append(f"{what} comes from {made}")
    return "; ".join(lines) + "."


def _color(wiring: Wiring, path: Path) -> str:
    return _COLORS[wiring.units[path].part] if path != IMAGE else "currentColor"


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" {style}>{escape(text)}</text>'


def _lane(part: str, x: float) -> str:
    style = f'font-size="13" font-weight="700" fill="{_COLORS[part]}"'
    return _text(x, TOP - 12, _TITLES[part], style)


def _rectangle(place: Place, style: str) -> str:
    corner = f'x="{place.x:g}" y="{place.y:g}"'
    size = f'width="{place.width:g}" height="{place.height:g}"'
    return f'<rect {corner} {size} rx="5" {style}/>'


def _bar(place: Place, text: str) -> str:
    rectangle = _rectangle(place, 'fill-opacity=".08" stroke="currentColor"')
    return rectangle + _text(place.center, place.y + 16, text, 'font-size="12"')


def _box(place: Place, text: BoxText, color: str, paths: tuple[Path, ...]) -> str:
    inside = ", ".join(".".join(map(str, path)) for path in paths)
    parts = [
        f"<g><title>{escape(inside)}</title>",
        _rectangle(place, f'fill="{color}" fill-opacity=".16" stroke="{color}"'),
    ]
    y = place.y + PAD_PX
    for line in text.name:
        y += LINE_PX
        parts.append(_text(place.center, y - 3, line, 'font-size="12" font-weight="600"'))
    for line in text.small:
        y += SMALL_PX
        parts.append(_text(place.center, y - 3, line, 'font-size="10.5"'))
    for row in text.outputs:
        y += PILL_PX
        width = sum(map(label_width, row)) + 3 * (len(row) - 1)
        parts.append(_labels(place.center - width / 2, y - 16, row))
    return "".join([*parts, "</g>"])


def _labels(x: float, y: float, labels: tuple[str, ...]) -> str:
    """Draws labels of outputs from x to the right."""
    parts = []
    for label in labels:
        width = label_width(label)
        shape = f'x="{x:g}" y="{y:g}" width="{width:g}" height="16" rx="8"'
        parts.append(f'<rect {shape} fill="none" stroke="currentColor"/>')
        style = 'font-size="11" font-weight="600"'
        parts.append(_text(x + width / 2, y + 12, label, style))
        x += width + 3
    return "".join(parts)


def _line(corners: Line, color: str) -> str:
    *_, (x0, y0), (x, y) = corners
    points = " ".join(f"{a:g},{b:g}" for a, b in corners)
    if x0 == x:
        tip = f"{x:g},{y:g} {x - 3.5:g},{y - 6:g} {x + 3.5:g},{y - 6:g}"
    else:
        back = x - 6 if x > x0 else x + 6
        tip = f"{x:g},{y:g} {back:g},{y - 3.5:g} {back:g},{y + 3.5:g}"
    return (
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6" '
        f'stroke-linejoin="round"/><polygon points="{tip}" fill="{color}"/>'
    )


def _legend(wiring: Wiring, y: float) -> tuple[str, float]:
    """Returns what the head gets, with channels, and the y below it."""
    parts = [
        _text(WIDTH / 2, y, "to the head: maps by stride, with channels", 'font-size="12"')
    ]
    items = [(name, f"{channels:,}") for name, channels in wiring.channels.items()]
    widths = [label_width(name) + 6 + 6.4 * len(count) for name, count in items]
    x, gap = (WIDTH - sum(widths) - 10 * (len(items) - 1)) / 2, 10
    y += 9
    for (name, count), width in zip(items, widths, strict=True):
        parts.append(_labels(x, y, (name,)))
        at = x + label_width(name) + 4
        parts.append(f'<text x="{at:g}" y="{y + 12:g}" font-size="11">{count}</text>')
        x += width + gap
    return "".join(parts), y + 24


def main(folder: str, *modules: str) -> None:
    """Writes the drawings of all registered fusions."""
    for module in modules:
        importlib.import_module(module)
    place = pathlib.Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name in FUSIONS.names():
        (place / f"{name}.svg").write_text(diagram(name, alone=True), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
