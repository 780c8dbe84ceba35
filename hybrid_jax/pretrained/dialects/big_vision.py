"""`big_vision`: the `.npz` files of big_vision's plain ViTs, SigLIP's image tower included.

Names are those of `vit_jax`, under `params/`, or under `params/img/` if there is a text
tower. The position table is at the root, without a row for the class token; files with
sincos positions have none. Pooling is by class token, mean or attention (`MAPHead_0/`).
Scanned blocks are one block whose arrays have a leading axis for the depth. ViT-B/16 with a
class token has 200 arrays, or 24 if scanned.
"""

import functools
import math
import re
from typing import Literal

from hybrid_jax.pretrained.codecs import (
    SAME,
    grid_positions,
    in_head_biases,
    in_heads,
    out_heads,
    positions,
    tokens,
)
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
    StoredArray,
    entry,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import google as names
from hybrid_jax.pretrained.position_grid import grid_of_table
from hybrid_jax.specs import ViTSpec

_POSITIONS = "pos_embedding"
_IMAGE_TOWER = "params/img/"
_MAP = "MAPHead_0"
# Keys of older files -> keys of today.
_MOVED = {
    "Transformer/pos_embedding": _POSITIONS,
    "probe": f"{_MAP}/probe",
}
_MOVED_MODULES = ("LayerNorm_0/", "MlpBlock_0/", "MultiHeadDotProductAttention_0/")


@DIALECTS.register("big_vision")
class BigVision:
    """ViTs with a position table at the root, or with none."""

    name = "big_vision"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has a ViT without a position table in its encoder."""
        inside = self.tidy(stored)
        return (
            "embedding/kernel" in inside
            and "Transformer/encoderblock_0/LayerNorm_0/scale" in inside
            and "Transformer/posembed_input/pos_embedding" not in inside
        )

    def tidy(self, stored: Stored) -> Stored:
        """Selects the image tower, unstacks scanned blocks, and uses today's names."""
        inside = names.without_prefix(stored, _IMAGE_TOWER, "params/", "opt/target/")
        inside = names.with_linen_numbers(_unscanned(inside))
        tower = any(key.startswith(_IMAGE_TOWER) for key in stored)
        return {_placed(key, tower=tower): array for key, array in inside.items()}

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file."""
        pool = _pool(stored)
        table = stored.get(_POSITIONS)
        vit = names.vit_of(
            stored, pool=pool, positions="sincos2d" if table is None else "learned"
        )
        rows = 0 if table is None else table.shape[1]
        grid, cls_position = _grid(rows, hints, cls=pool == "cls") if rows else (None, True)
        head = stored.get("head/kernel")
        return Architecture(
            fusion="vit",
            vit=vit,
            grid=grid,
            cls_position=cls_position,
            num_classes=0 if head is None else head.shape[1],
            head_options=names.head_options(stored),
            preprocessing=Preprocessing(normalization="half", certain=False),
        )

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        vit = architecture.given_vit
        entries = names.vit_entries(vit)
        if vit.pool == "attention":
            entries += _map_entries(vit)
        if vit.positions == "learned":
            entries.append(_position_entry(architecture))
        # Sorted by kind of array, so that each stack of scanned blocks is read once.
        entries.sort(key=lambda e: re.sub(r"/\d+/", "/", e.paths[0]))
        return entries + names.head_entries(architecture)


def _unscanned(stored: Stored) -> Stored:
    """Returns the arrays with every stack of scanned blocks as arrays of single blocks."""

    # Query, key and value are read together.
    @functools.lru_cache(maxsize=3)
    def stack(key: str):
        return stored[key].read()

    def layer(key: str, i: int) -> StoredArray:
        array = stored[key]
        return StoredArray(array.shape[1:], array.dtype, lambda: stack(key)[i])

    scanned = "Transformer/encoderblock/"
    found = {}
    for key, array in stored.items():
        if key.startswith(scanned):
            rest = key.removeprefix(scanned)
            for i in range(array.shape[0]):
                found[f"Transformer/encoderblock_{i}/{rest}"] = layer(key, i)
        else:
            found[key] = array
    return found


def _placed(key: str, *, tower: bool) -> str:
    """Returns the key that today's files use for the array of `key`."""
    if tower and key.startswith("head/"):
        # With a text tower it is the projection to the joint space, not a classifier.
        return f"img/{key}"
    if key.startswith(_MOVED_MODULES):
        return f"{_MAP}/{key}"
    return _MOVED.get(key, key)


def _pool(stored: Stored) -> Literal["cls", "mean", "attention"]:
    if f"{_MAP}/probe" in stored:
        return "attention"
    return "cls" if "cls" in stored else "mean"


def _grid(rows: int, hints: Hints, *, cls: bool) -> tuple[tuple[int, int], bool]:
    """Returns the grid of a table, and whether it has a row for the class token.

    Files before 2022 have this row.
    """
    counts = [rows - 1, rows] if cls else [rows]
    grid = grid_of_table(counts, hints, where=_POSITIONS)
    return grid, cls and rows > math.prod(grid)


def _position_entry(architecture: Architecture) -> Entry:
    grid = architecture.given_grid
    if architecture.given_vit.pool != "cls":
        return entry("vit/position", _POSITIONS, grid_positions(grid))
    paths = ("vit/cls_position", "vit/position")
    return entry(paths, _POSITIONS, positions(grid, cls=architecture.cls_position))


def _map_entries(vit: ViTSpec) -> list[Entry]:
    ours, attention = "vit/probe_pool", f"{_MAP}/MultiHeadDotProductAttention_0"
    entries = [entry(f"{ours}/probe", f"{_MAP}/probe", tokens(1))]
    for name in ("query", "key", "value", "out"):
        kernel = out_heads(vit.num_heads) if name == "out" else in_heads(vit.num_heads)
        bias = SAME if name == "out" else in_head_biases(vit.num_heads)
        for kind, codec in (("kernel", kernel), ("bias", bias)):
            path = f"{ours}/{name}/{kind}"
            entries.append(entry(path, f"{attention}/{name}/{kind}", codec))
    entries += names.norm(f"{ours}/norm", f"{_MAP}/LayerNorm_0")
    return entries + names.mlp(f"{ours}/mlp", f"{_MAP}/MlpBlock_0")
