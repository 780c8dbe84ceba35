"""Rows of small pictures with titles, as one picture."""

import dataclasses
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hybrid_jax.explaining.drawing.color_map import colored

_GAP_PX = 8
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_LETTER = 0.55  # mean width of a letter, as a share of the size of the font


@dataclasses.dataclass(frozen=True)
class Panel:
    """A picture (h, w, 3) uint8 with a title."""

    picture_u8: np.ndarray
    title: str


def in_rows(
    rows: Sequence[Sequence[Panel]], *, notes: Sequence[str] = (), font_px: int
) -> np.ndarray:
    """Returns all panels in rows on white, each under its title, and notes below.

    Args:
        rows: panels of any sizes; a column is as wide as its widest panel.
        notes: lines of text, wrapped to the width.
        font_px: size of the letters in px.

    Returns:
        (H, W, 3) uint8.
    """
    font = ImageFont.load_default(font_px)
    least = round(font_px * _LETTER * 12)
    columns = max(map(len, rows))
    widths = [
        max(least, *(row[c].picture_u8.shape[1] for row in rows if c < len(row)))
        for c in range(columns)
    ]
    width = sum(widths) + _GAP_PX * (columns + 1)
    titles = [
        [_wrapped(panel.title, widths[c], font_px) for c, panel in enumerate(row)]
        for row in rows
    ]
    pitch = round(1.3 * font_px)
    heads = [pitch * max(len(lines) for lines in row) for row in titles]
    heights = [max(panel.picture_u8.shape[0] for panel in row) for row in rows]
    notes = [line for note in notes for line in _wrapped(note, width, font_px)]
    below = pitch * len(notes) + _GAP_PX * bool(notes)
    height = sum(heads) + sum(heights) + 2 * _GAP_PX * len(rows) + _GAP_PX + below
    picture = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(picture)
    y = _GAP_PX
    for row, lines, head, tall in zip(rows, titles, heads, heights, strict=True):
        x = _GAP_PX
        for panel, title, wide in zip(row, lines, widths, strict=False):
            draw.multiline_text((x, y), "\n".join(title), fill=_BLACK, font=font)
            picture.paste(Image.fromarray(panel.picture_u8), (x, y + head + _GAP_PX))
            x += wide + _GAP_PX
        y += head + tall + 2 * _GAP_PX
    for line in notes:
        draw.text((_GAP_PX, y), line, fill=_BLACK, font=font)
        y += pitch
    return np.asarray(picture)


def color_bar(*, width_px: int, font_px: int) -> Panel:
    """Returns the scale of colors, from the least to the most of each map."""
    shares = np.linspace(0, 1, width_px, dtype=np.float32)
    bar = colored(np.broadcast_to(shares, (font_px, width_px)))
    return Panel(bar, "colors: from nothing (left) to the most of each map (right)")


def _wrapped(text: str, width_px: int, font_px: int) -> list[str]:
    letters = max(8, int(width_px / (font_px * _LETTER)))
    return textwrap.wrap(text, letters) or [""]
