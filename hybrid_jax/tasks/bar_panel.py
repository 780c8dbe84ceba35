"""Probabilities of classes as bars beside their image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from hybrid_jax.tasks.lettering import enlarged, font_for, shortened

_INK, _PAPER = (0, 0, 0), (255, 255, 255)
# Blue and light gray differ in brightness too, for every kind of color vision.
_BAR, _TRACK = (0, 114, 178), (225, 225, 225)
# In units of the font's size.
_WIDTH, _MARGIN, _TEXT, _THICKNESS, _GAP = 20, 0.8, 1.5, 0.6, 0.7


def draw_bars(
    image_u8: np.ndarray, *, names: Sequence[str], shares: Sequence[float]
) -> np.ndarray:
    """Draws a panel to the right of an image: each name, its per cent, and a bar.

    Args:
        image_u8: (H, W, 3) uint8; enlarged by an integer factor if below 256 px.
        names: of the classes, from top to bottom; long ones are cut.
        shares: of each, in [0, 1].

    Returns:
        (H', W' + panel, 3) uint8, the image in the top left corner; higher than the image
        where the panel needs it.
    """
    image_u8, _ = enlarged(image_u8)
    font = font_for(image_u8)
    size = font.size
    margin, pitch = round(_MARGIN * size), round((_TEXT + _THICKNESS + _GAP) * size)
    height, width = image_u8.shape[:2]
    needed = pitch * len(names) + 2 * margin if names else 0
    panel = round(_WIDTH * size) if names else 0
    picture = Image.new("RGB", (width + panel, max(height, needed)), _PAPER)
    picture.paste(Image.fromarray(image_u8), (0, 0))
    draw = ImageDraw.Draw(picture)
    left, right = width + margin, width + panel - margin
    for row, (name, share) in enumerate(zip(names, shares, strict=True)):
        top = margin + row * pitch
        middle = top + _TEXT * size / 2
        number = f"{100 * share:.1f} %"
        room = right - left - font.getlength(number) - size
        text = shortened(name, font=font, width_px=room)
        draw.text((left, middle), text, fill=_INK, font=font, anchor="lm")
        draw.text((right, middle), number, fill=_INK, font=font, anchor="rm")
        upper, lower = top + _TEXT * size, top + (_TEXT + _THICKNESS) * size
        draw.rectangle((left, upper, right, lower), fill=_TRACK)
        if share > 0:
            end = left + min(share, 1.0) * (right - left)
            draw.rectangle((left, upper, end, lower), fill=_BAR)
    return np.asarray(picture)
