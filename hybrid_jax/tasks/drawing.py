"""Drawing predictions over their image with Pillow."""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from hybrid_jax.contracts import VOID
from hybrid_jax.tasks.lettering import enlarged, font_for, shortened

SHOWN_SCORE = 0.3  # boxes with lower scores are not drawn
_TAGGED = 12  # more boxes than these hide what they show behind their names
_BLEND = 0.5  # weight of a class's color over the image
_GRAYISH = 90  # difference of channels below which a color is none
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def palette(count: int) -> np.ndarray:
    """Returns (count, 3) uint8, the first `count` of 255 fixed colors."""
    return _all_colors()[:count]


def draw_boxes(
    image_u8: np.ndarray,
    boxes_xyxy_px: np.ndarray,
    *,
    labels: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    least_score: float = SHOWN_SCORE,
) -> np.ndarray:
    """Draws boxes with class names and scores, the first boxes on top.

    Args:
        image_u8: (H, W, 3) uint8.
        boxes_xyxy_px: (M, 4) in px of the image.
        labels: (M,) int, class ids.
        scores: (M,), printed as per cent.
        names: names of all classes.
        least_score: boxes with lower scores are not drawn.

    Returns:
        (H', W', 3) uint8; images below 256 px are enlarged by an integer factor.
    """
    shown = np.flatnonzero(scores >= least_score)
    tags = [f"{names[int(labels[m])]} {100 * scores[m]:.0f}" for m in shown]
    return _framed(image_u8, boxes_xyxy_px[shown], labels=labels[shown], tags=tags)


def draw_annotated_boxes(
    image_u8: np.ndarray,
    boxes_xyxy_px: np.ndarray,
    *,
    labels: np.ndarray,
    names: Sequence[str],
) -> np.ndarray:
    """Draws boxes that are known, with class names if they are few, and a legend below.

    Args:
        image_u8: (H, W, 3) uint8.
        boxes_xyxy_px: (M, 4) in px of the image.
        labels: (M,) int, class ids.
        names: names of all classes; the legend counts those that occur.

    Returns:
        (H' + legend, W', 3) uint8; images below 256 px are enlarged by an integer factor.
    """
    tags = [names[int(label)] for label in labels] if len(labels) <= _TAGGED else []
    tags = tags or [""] * len(labels)
    framed = _framed(image_u8, boxes_xyxy_px, labels=labels, tags=tags)
    counts = np.bincount(labels, minlength=len(names))
    there = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    lines = [f"{counts[k]} {names[k]}" for k in there] or ["nothing"]
    colors = [tuple(palette(k + 1)[k]) for k in there] or [None]
    return _with_lines(framed, lines, colors=colors)


def _framed(
    image_u8: np.ndarray,
    boxes_xyxy_px: np.ndarray,
    *,
    labels: np.ndarray,
    tags: Sequence[str],
) -> np.ndarray:
    """Returns the image, enlarged if it is small, with boxes, the first on top."""
    image_u8, factor = enlarged(image_u8)
    picture = Image.fromarray(image_u8)
    draw, font = ImageDraw.Draw(picture), font_for(image_u8)
    width = max(2, round(max(image_u8.shape) / 300))
    for m in reversed(range(len(labels))):
        left, top, right, bottom = np.rint(np.asarray(boxes_xyxy_px[m]) * factor)
        corners = (left, top, max(right - 1, left), max(bottom - 1, top))
        label = int(labels[m])
        color = tuple(palette(label + 1)[label].tolist())
        draw.rectangle(corners, outline=color, width=width)
        if tags[m]:
            _tag(draw, tags[m], xy=(left, top), color=color, font=font)
    return np.asarray(picture)


def draw_segmentation(
    image_u8: np.ndarray,
    segmentation: np.ndarray,
    *,
    names: Sequence[str],
    uncolored: int | None = None,
) -> np.ndarray:
    """Draws class colors with outlines over an image, and a legend below it.

    Args:
        image_u8: (H, W, 3) uint8.
        segmentation: (H, W) uint8 class ids; pixels of 255, and of a class named
            "background", are not colored.
        names: names of all classes; the legend has those that occur, the largest first.
        uncolored: another class that is not colored.

    Returns:
        (H' + legend, W', 3) uint8; images below 256 px are enlarged by an integer factor.
    """
    shares = class_shares(segmentation, len(names))
    image_u8, factor = enlarged(image_u8)
    ids = segmentation.repeat(factor, 0).repeat(factor, 1)
    colors = np.zeros((256, 3), np.float64)
    colors[: len(names)] = palette(len(names))
    weight = np.full(ids.shape, _BLEND)
    weight[:, :-1][ids[:, :-1] != ids[:, 1:]] = 1.0
    weight[:-1][ids[:-1] != ids[1:]] = 1.0
    background = [k for k, n in enumerate(names) if n == "background" or k == uncolored]
    weight[np.isin(ids, [VOID, *background])] = 0.0
    weight = weight[..., None]
    mixed = np.rint(image_u8 * (1.0 - weight) + colors[ids] * weight).astype(np.uint8)
    largest = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
    lines = [f"{names[k]} {100 * shares[k]:.1f} %" for k in largest]
    swatches = [None if k in background else tuple(palette(k + 1)[k]) for k in largest]
    return _with_lines(mixed, lines, colors=swatches)


def draw_lines(image_u8: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Writes lines of text below an image (H, W, 3) uint8, enlarged if below 256 px."""
    return _with_lines(enlarged(image_u8)[0], lines, colors=[None] * len(lines))


def class_shares(segmentation: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (K,) float64: the fraction of each class among pixels that are not void."""
    counts = np.bincount(segmentation.ravel(), minlength=256)
    return counts[:num_classes] / max(counts[:VOID].sum(), 1)


@functools.cache
def _all_colors() -> np.ndarray:
    """Returns (255, 3) uint8: red, then always the color farthest from all before."""
    levels = np.linspace(0, 255, 9)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.ptp(grid, axis=1) > _GRAYISH]
    chosen = [np.array([255.0, 0.0, 0.0])]
    distance = np.full(len(grid), np.inf)
    while len(chosen) < VOID:
        distance = np.minimum(distance, np.linalg.norm(grid - chosen[-1], axis=1))
        chosen.append(grid[np.argmax(distance)])
    return np.rint(chosen).astype(np.uint8)


def _tag(draw: ImageDraw.ImageDraw, text: str, *, xy, color, font) -> None:
    """Writes a name on its color above a corner, or below at the top of the image."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    picture = draw.im.size
    x = max(0, min(xy[0], picture[0] - width))
    y = xy[1] - height if xy[1] >= height else min(xy[1], picture[1] - height)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    bright = np.dot(color, (0.299, 0.587, 0.114)) > 140  # luma of Rec. 601
    ink = _BLACK if bright else _WHITE
    draw.text((x + 2 - left, y + 2 - top), text, fill=ink, font=font)


def _with_lines(image_u8: np.ndarray, lines: Sequence[str], *, colors) -> np.ndarray:
    """Adds a white strip with lines of text, each after a patch of its color."""
    font = font_for(image_u8)
    pitch = round(1.5 * font.size)
    height, width = image_u8.shape[:2]
    picture = Image.new("RGB", (width, height + pitch * len(lines)), _WHITE)
    picture.paste(Image.fromarray(image_u8), (0, 0))
    draw = ImageDraw.Draw(picture)
    for row, (line, color) in enumerate(zip(lines, colors, strict=True)):
        x, y = 4, height + row * pitch
        if color is not None:
            draw.rectangle(
                (x, y + 3, x + pitch, y + pitch - 4), fill=tuple(map(int, color))
            )
            x += round(1.3 * pitch)
        line = shortened(line, font=font, width_px=width - x)
        draw.text((x, y + pitch / 2), line, fill=_BLACK, font=font, anchor="lm")
    return np.asarray(picture)
