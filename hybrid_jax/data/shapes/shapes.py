"""Images of textured shapes, drawn from a seed: a data set that needs no download.

One image serves classification, detection and segmentation. Its label is a texture (a
local property) times a layout (a global one), 16 classes; its objects are five kinds of
shapes, drawn independently of the label. Example `index` of `seed` can be drawn alone, in
any process and on any number of them.
"""

import dataclasses
from typing import Any

import numpy as np

SPEC_VERSION = 1  # raised with every change of a pixel; names caches and TFDS versions

KINDS = ("circle", "star", "square", "triangle", "cross")
TEXTURES = ("plain", "stripes", "checker", "dots")
LAYOUTS = ("line", "ring", "clusters", "cross")
MIN_VISIBLE_PX = 12  # objects with fewer visible pixels are not annotated

_LAYOUT_OBJECTS = 5


@dataclasses.dataclass(frozen=True)
class Split:
    """How the examples of one split are drawn.

    Attributes:
        num_examples: length.
        seed: first half of every example's random seed; the index is the other.
        noise: deviation of the pixel noise, on a scale of 0 to 1.
        bars: bars drawn over the image.
        scale: range of the radius of the layout's objects, as shares of the side.
    """

    num_examples: int
    seed: int
    noise: float = 0.03
    bars: int = 0
    scale: tuple[float, float] = (0.10, 0.14)


# The last four are never trained on: each leaves the training distribution in one way.
SPLITS = {
    "train": Split(8000, seed=0),
    "validation": Split(1000, seed=2),
    "test": Split(1000, seed=1),
    "test_noise": Split(500, seed=3, noise=0.12),
    "test_bars": Split(500, seed=4, bars=4),
    "test_small": Split(500, seed=5, scale=(0.06, 0.085)),
    "test_large": Split(500, seed=6, scale=(0.15, 0.19)),
}


@dataclasses.dataclass
class _Object:
    kind: int  # index into KINDS
    center: np.ndarray  # (2,) x and y, px
    radius: float  # px
    texture: int  # index into TEXTURES


def draw_example(index: int, *, split: Split, size_px: int) -> dict[str, Any]:
    """Draws example `index` of a split.

    Returns:
        image: (S, S, 3) uint8.
        label, texture, layout: int; `label = texture * 4 + layout`.
        boxes_xyxy_px: (M, 4) float32, around the visible pixels of each object.
        box_labels, box_textures: (M,) int32, indices into `KINDS` and `TEXTURES`.
        segmentation: (S, S) uint8, 0 for background and 1 + the kind elsewhere.
        instances: (S, S) uint8, 0 for background and 1 + the object elsewhere.
    """
    # The order of the draws below is the specification: a draw more or less, or in
    # another order, changes every image.
    rng = np.random.default_rng([split.seed, index])
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32) + 0.5
    texture, layout = int(rng.integers(4)), int(rng.integers(4))
    image = _background(x, y, rng)
    objects = _layout_objects(layout, texture, rng, split=split, size_px=size_px)
    _add_distractors(objects, rng, size_px=size_px)
    image, instances = _paint(image, objects, x, y, rng)
    for _ in range(split.bars):
        _cover_with_bar(image, instances, x, y, rng)
    slope = rng.uniform(-0.15, 0.15, 2)
    light = slope[0] * (x / size_px - 0.5) + slope[1] * (y / size_px - 0.5)
    image = image + light[..., None] + rng.normal(size=image.shape) * split.noise
    return {
        "image": (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8),
        "label": texture * 4 + layout,
        "texture": texture,
        "layout": layout,
        "instances": instances.astype(np.uint8),
        **_annotations(objects, instances),
    }


def _background(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns (S, S, 3): a coarse texture of low contrast that says nothing."""
    first, second = _two_colors(rng)
    kind = TEXTURES[rng.integers(4)]
    pattern = _pattern(kind, x, y, rng, period=rng.uniform(0.12, 0.25) * len(x))
    pattern = pattern[..., None]
    return (first + second) / 2 + (pattern - pattern.mean()) * (second - first) * 0.35


def _two_colors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws two colors around a mean whose law does not depend on the texture."""
    mean = rng.uniform(0.25, 0.75, 3)
    offset = rng.normal(size=3)
    offset *= rng.uniform(0.18, 0.3) / np.abs(offset).max()
    return mean - offset, mean + offset


def _pattern(
    kind: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, period: float
) -> np.ndarray:
    """Returns a texture (S, S) in [0, 1]; `period` in px."""
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    if kind == "dots":
        period = period * 1.25
    a = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + phase[0]
    b = (-x * np.sin(angle) + y * np.cos(angle)) * 2 * np.pi / period + phase[1]
    if kind == "plain":
        return np.full(x.shape, 0.5)
    if kind == "stripes":
        return np.clip(1.5 * np.sin(a) + 0.5, 0, 1)
    if kind == "checker":
        return np.clip(2.5 * np.sin(a) * np.sin(b) + 0.5, 0, 1)
    return np.clip(2.0 * (np.sin(a) + np.sin(b) - 0.9) + 0.5, 0, 1)


def _layout_objects(
    layout: int, texture: int, rng: np.random.Generator, *, split: Split, size_px: int
) -> list[_Object]:
    """Draws layouts until one lies inside the image."""
    while True:
        centers = _layout_centers(LAYOUTS[layout], rng) + 0.5 + rng.uniform(-0.06, 0.06, 2)
        radii = rng.uniform(*split.scale, len(centers))
        border = radii[:, None] * 0.8
        if (centers > border).all() and (centers < 1 - border).all():
            break
    return [
        _Object(int(rng.integers(5)), center * size_px, radius * size_px, texture)
        for center, radius in zip(centers, radii, strict=True)
    ]


def _layout_centers(layout: str, rng: np.random.Generator) -> np.ndarray:
    """Returns (5, 2) x and y around the origin, turned by any angle.

    Rotating the image keeps the layout, so rotation sweeps keep the label.
    """
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    if layout == "line":
        steps = np.linspace(-0.36, 0.36, _LAYOUT_OBJECTS)
        points = np.stack([steps, np.zeros(_LAYOUT_OBJECTS)], 1)
    elif layout == "ring":
        turns = np.arange(_LAYOUT_OBJECTS) * 2 * np.pi / _LAYOUT_OBJECTS
        points = 0.30 * np.stack([np.cos(turns), np.sin(turns)], 1)
    elif layout == "cross":
        points = np.array([[0, 0], [0.32, 0], [-0.32, 0], [0, 0.32], [0, -0.32]])
    else:
        left, right = [[-0.28, -0.10], [-0.28, 0.10]], [[0.27, -0.11], [0.27, 0.11]]
        points = np.array([*left, *right, [-0.13, 0.02]])
    scaled = (points * rng.uniform(0.85, 1.0)) @ rotation.T
    return scaled + rng.normal(size=(_LAYOUT_OBJECTS, 2)) * 0.018


def _add_distractors(
    objects: list[_Object], rng: np.random.Generator, *, size_px: int
) -> None:
    """Appends up to two small objects of any texture, outside the layout."""
    for _ in range(int(rng.integers(0, 3))):
        for _ in range(20):  # tries to find a free place
            share = rng.uniform(0.05, 0.07)
            center, radius = rng.uniform(share, 1 - share, 2) * size_px, share * size_px
            if all(
                np.hypot(*(center - other.center)) > 0.9 * (radius + other.radius)
                for other in objects
            ):
                kind, texture = int(rng.integers(5)), int(rng.integers(4))
                objects.append(_Object(kind, center, radius, texture))
                break


def _paint(
    image: np.ndarray,
    objects: list[_Object],
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paints the objects in random order, later over earlier.

    Returns:
        The image (S, S, 3) and the instances (S, S): 1 + the object that is visible.
    """
    instances = np.zeros(x.shape, np.int32)
    for number in rng.permutation(len(objects)):
        item = objects[number]
        angle = rng.uniform(-np.pi, np.pi)
        dx, dy = x - item.center[0], y - item.center[1]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / item.radius
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / item.radius
        inside = _inside_distance(KINDS[item.kind], u, v) * item.radius
        opacity = np.clip(inside + 0.5, 0, 1)[..., None]
        first, second = _two_colors(rng)
        period = rng.uniform(0.065, 0.09) * len(x)
        pattern = _pattern(TEXTURES[item.texture], x, y, rng, period=period)[..., None]
        covered = opacity > 0.5
        # Centered over the object: its mean color does not tell its texture.
        mean = (pattern * covered).sum() / max(covered.sum(), 1)
        color = (first + second) / 2 + (pattern - mean) * (second - first)
        image = image * (1 - opacity) + color * opacity
        instances[covered[..., 0]] = number + 1
    return image, instances


def _inside_distance(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Returns how far (u, v) is inside a shape of unit radius; negative outside."""
    r = np.hypot(u, v)
    angle = np.arctan2(v, u) + 2 * np.pi
    if kind == "circle":
        return 1 - r
    if kind == "square":
        return 0.85 - np.maximum(abs(u), abs(v))
    if kind == "cross":
        upright = np.minimum(0.95 - abs(u), 0.34 - abs(v))
        return np.maximum(upright, np.minimum(0.95 - abs(v), 0.34 - abs(u)))
    if kind == "triangle":
        third = 2 * np.pi / 3
        return 0.55 - r * np.cos(np.abs(angle % third - third / 2))
    fifth = 2 * np.pi / 5
    along = np.abs(angle % fifth - fifth / 2) / (fifth / 2)
    return (1.0 - 0.58 * (1 - np.abs(1 - along))) - r


def _cover_with_bar(
    image: np.ndarray,
    instances: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Draws one bar through the image, in place; what it hides is not annotated."""
    side = len(x)
    angle, through = rng.uniform(0, np.pi), rng.uniform(0, side, 2)
    across = (x - through[0]) * np.sin(angle) - (y - through[1]) * np.cos(angle)
    bar = abs(across) < rng.uniform(0.02, 0.05) * side
    image[bar] = rng.uniform(0.1, 0.9, 3)
    instances[bar] = 0


def _annotations(objects: list[_Object], instances: np.ndarray) -> dict[str, np.ndarray]:
    segmentation = np.zeros(instances.shape, np.uint8)
    boxes, kinds, textures = [], [], []
    for number, item in enumerate(objects):
        visible = instances == number + 1
        if visible.sum() < MIN_VISIBLE_PX:
            continue
        segmentation[visible] = item.kind + 1
        rows, columns = np.where(visible)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        kinds.append(item.kind)
        textures.append(item.texture)
    return {
        "boxes_xyxy_px": np.array(boxes, np.float32).reshape(-1, 4),
        "box_labels": np.array(kinds, np.int32),
        "box_textures": np.array(textures, np.int32),
        "segmentation": segmentation,
    }
