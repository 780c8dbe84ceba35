"""`big_vision`: the `.npz` files of big_vision's plain ViTs, SigLIP's image tower included.

The names of `vit_jax`, under `params/` or, beside a text tower, `params/img/`. Positions
stand at the root and are the patches' alone, or are fixed sines that no file holds; pooled
is the class token, the mean, or by attention (`MAPHead_0/`). Blocks that were scanned are
one block whose arrays have an axis for the depth before the others. ViT-B/16 with a class
token has 200 arrays, scanned 24.
"""

import functools
import math
import re

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
from hybrid_jax.specs import ViTSpec

_POSITIONS = "pos_embedding"
_IMAGE_TOWER = "params/img/"
_MAP = "MAPHead_0"
# Where files of other years keep what now stands elsewhere.
_MOVED = {
    "Transformer/pos_embedding": _POSITIONS,
    "probe": f"{_MAP}/probe",
}
_MOVED_MODULES = ("LayerNorm_0/", "MlpBlock_0/", "MultiHeadDotProductAttention_0/")


@DIALECTS.register("big_vision")
class BigVision:
    """ViTs whose position table, if they have one, stands at the root."""

    name = "big_vision"

    def recognizes(self, stored: Stored) -> bool:
        """Tells whether a file has a ViT without positions in its encoder."""
        inside = self.tidy(stored)
        return (
            "embedding/kernel" in inside
            and "Transformer/encoderblock_0/LayerNorm_0/scale" in inside
            and "Transformer/posembed_input/pos_embedding" not in inside
        )

    def tidy(self, stored: Stored) -> Stored:
        """Takes the image tower out, unstacks its blocks, uses the names of today."""
        inside = names.without_prefix(stored, _IMAGE_TOWER, "params/", "opt/target/")
        inside = names.with_linen_numbers(_unscanned(inside))
        tower = any(key.startswith(_IMAGE_TOWER) for key in stored)
        return {_placed(key, tower=tower): array for key, array in inside.items()}

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; its pooling is told by what is there."""
        pool = _pool(stored)
        table = stored.get(_POSITIONS)
        vit = names.vit_of(
            stored, pool=pool, positions="sincos2d" if table is None else "learned"
        )
        rows = 0 if table is None else table.shape[1]
        grid, cls_position = _grid(rows, hints, cls=pool == "cls") if rows else (None, True)
        head = stored.get("head/kernel")
        classes = 0 if head is None or "pre_logits/kernel" in stored else head.shape[1]
        return Architecture(
            fusion="vit",
            vit=vit,
            grid=grid,
            cls_position=cls_position,
            num_classes=classes,
            preprocessing=Preprocessing(normalization="half", certain=False),
        )

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns where every array of such a model stands in such a file."""
        vit = architecture.vit
        entries = names.vit_entries(vit)
        if vit.pool == "attention":
            entries += _map_entries(vit)
        if vit.positions == "learned":
            entries.append(_position_entry(architecture))
        # All blocks' arrays of one kind, then the next kind: a stack is read but once.
        entries.sort(key=lambda e: re.sub(r"/\d+/", "/", e.paths[0]))
        return entries + (names.head_entries() if architecture.num_classes else [])


def _unscanned(stored: Stored) -> Stored:
    """Returns the arrays with every stack of blocks as the blocks' own arrays."""

    # As many as are read together: query, key and value.
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
    """Returns the key that files of today use for what `key` names."""
    if tower and key.startswith("head/"):
        # Beside a text tower it maps to the space of both, and is no classifier.
        return f"img/{key}"
    if key.startswith(_MOVED_MODULES):
        return f"{_MAP}/{key}"
    return _MOVED.get(key, key)


def _pool(stored: Stored) -> str:
    if f"{_MAP}/probe" in stored:
        return "attention"
    return "cls" if "cls" in stored else "mean"


def _grid(rows: int, hints: Hints, *, cls: bool) -> tuple[tuple[int, int], bool]:
    """Returns the grid of a table, and whether the class token has a row before it.

    Until 2022 it had one.
    """
    if hints.grid:
        return hints.grid, cls and rows == math.prod(hints.grid) + 1
    cls_position = cls and rows > 1 and math.isqrt(rows - 1) ** 2 == rows - 1
    return names.square(rows - cls_position, where=_POSITIONS), cls_position


def _position_entry(architecture: Architecture) -> Entry:
    grid = architecture.grid
    if architecture.vit.pool != "cls":
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
