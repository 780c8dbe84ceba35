"""The pictures of an explanation: halves side by side, all maps, all heads, positions."""

import numpy as np

from hybrid_jax.explaining.drawing.color_map import colored
from hybrid_jax.explaining.drawing.explained_image import ExplainedImage
from hybrid_jax.explaining.drawing.panels import Panel, color_bar, in_rows
from hybrid_jax.explaining.explanation import CellMap, Explanation

_TITLES = dict(resnet="ResNet's view", transformer="transformer's view", fused="fused view")
_SMALL_PX = 240  # longer side of a picture among many
_TINY_PX = 120  # of one among very many
_TILES = 16  # positions that are shown per side
_TILE_PX = 48


def overview(image: ExplainedImage, found: Explanation, *, label: str) -> np.ndarray:
    """Returns the image, the ResNet's view, the transformer's and the fused one in a row.

    Args:
        image: the image.
        found: its explanation, of a batch of one.
        label: what is explained, such as "fox, logit 3.1".
    """
    picture = image.picture()
    panels = [Panel(picture, f"explained: {label}")]
    names = found.view_names()
    for view, heat in found.views().items():
        title = f"{_TITLES[view]}: {names[view]}"
        panels.append(Panel(image.with_heat(heat[0]), title))
    font = _font(picture)
    bar = color_bar(width_px=picture.shape[1], font_px=font)
    notes = [*filter(None, [image.crop_note()]), *found.missing]
    return in_rows([panels, [bar]], notes=notes, font_px=font)


def all_maps(image: ExplainedImage, found: Explanation) -> np.ndarray:
    """Returns rows of Grad-CAM at every map, the rollout, and every level's energy."""
    rows = []
    cams = [
        Panel(
            image.with_cells(cam, most_px=_SMALL_PX),
            f"Grad-CAM, {name}, stride {cam.stride}"
            + ("" if found.reached[name] else " (the class does not depend on it)"),
        )
        for name, cam in found.cams.items()
    ]
    if found.rollout is not None:
        rolled = image.with_cells(found.rollout, most_px=_SMALL_PX)
        cams.append(Panel(rolled, f"attention rollout, stride {found.rollout.stride}"))
    rows.append(cams)
    for path, levels in found.levels.items():
        rows.append(
            [
                Panel(
                    image.with_cells(CellMap(energy, stride), most_px=_SMALL_PX),
                    f"energy of {path}, stride {stride}: mean {energy.mean():.2f}",
                )
                for stride, energy in levels.items()
            ]
        )
    notes = [*filter(None, [image.crop_note()])]
    return in_rows([row for row in rows if row], notes=notes, font_px=14)


def all_heads(image: ExplainedImage, found: Explanation) -> np.ndarray | None:
    """Returns a row of every attention layer with a map of each head; None without any."""
    rows = []
    for layer in found.attention:
        panels = []
        for head in range(layer.heads.values.shape[1]):
            cells = CellMap(layer.heads.values[:, head], layer.heads.stride)
            title = f"head {head}"
            if layer.distances_px is not None:
                title += f", {layer.distances_px[0, head]:.0f} px"
            if not head:
                title = f"{layer.path}: {title}"
            panels.append(Panel(image.with_cells(cells, most_px=_TINY_PX), title))
        rows.append(panels)
    if not rows:
        return None
    note = (
        "What each head reads: of the class token where it is read, else the mean over all "
        "queries. px: mean attention distance, in px of the model's input."
    )
    notes = [note, *filter(None, [image.crop_note()])]
    return in_rows(rows, notes=notes, font_px=12)


def positions(found: Explanation) -> np.ndarray | None:
    """Returns a tile for each learned position: its cosine with all others, or None."""
    similarity = found.position_similarity
    if similarity is None:
        return None
    h, w = similarity.shape[:2]
    rows, columns = (
        np.unique(np.linspace(0, side - 1, min(side, _TILES)).astype(int))
        for side in (h, w)
    )
    grow = max(1, _TILE_PX // max(h, w))
    tiles = [[_tile(similarity[y, x], grow) for x in columns] for y in rows]
    picture = np.concatenate([np.concatenate(row, 1) for row in tiles], 0)
    title = (
        f"cosine of each learned position with all {h} x {w} others (dark -1, bright 1); "
        f"{len(rows)} x {len(columns)} of them are shown"
    )
    return in_rows([[Panel(picture, title)]], font_px=14)


def _tile(cosines: np.ndarray, grow: int) -> np.ndarray:
    """Returns a map of cosines in colors, enlarged, with a white frame."""
    tile = colored((cosines + 1) / 2).repeat(grow, 0).repeat(grow, 1)
    return np.pad(tile, ((1, 1), (1, 1), (0, 0)), constant_values=255)


def _font(picture: np.ndarray) -> int:
    return int(np.clip(max(picture.shape[:2]) // 24, 14, 32))
