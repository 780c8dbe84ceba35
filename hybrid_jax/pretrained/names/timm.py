"""Names and shapes common to timm's ViTs, with and without a ResNet before them.

Two timm models with the same arrays may differ in the number of heads, the pooling or the
GELU. Variants that this library does not have, or cannot recognize, raise an error.
"""

import math
import re
from collections.abc import Iterable

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.codecs import (
    CONV_OIHW,
    LINEAR_OI,
    QKV_BIAS,
    QKV_LINEAR_OI,
    SAME,
    grid_positions,
    positions,
    tokens,
)
from hybrid_jax.pretrained.dialect import Architecture, Entry, Hints, Stored, entry
from hybrid_jax.pretrained.inferred_options import heads_of
from hybrid_jax.pretrained.position_grid import grid_of_table
from hybrid_jax.specs import ViTSpec

_EMBED = "patch_embed.proj.weight"
_PRE_LOGITS = "pre_logits.fc"  # of timm until 2022
_PREFIXES = ("", "module.", "model.")

# Arrays of other variants of timm's ViT, and what is different about them.
_REFUSED = {
    r"dist_token|head_dist\.": "a distilled DeiT, with a second token and a second head",
    r"norm_pre\.": "a norm before the blocks, as CLIP's ViTs",
    r"fc_norm\.": "a norm after the pooling; here it is before",
    r"attn_pool\.": "attention pooling of another form",
    r"blocks\.\d+\.mlp\.(w12|w3|w1|w2|fc1_g|norm)\.": "a gated or normed MLP",
    r"blocks\.\d+\.attn\.(q_norm|k_norm|norm)\.": "norms inside the attention",
    r"blocks\.\d+\.attns\.": "parallel branches in its blocks",
    r".*(rel_pos|relative_position).*": "relative positions",
}
# Arrays that are left out: the mask token of DINOv2's training, and the tanh layer of 2020
# where the classifier after it is not in the file.
_DROPPED = r"mask_token|pre_logits\..*"


def prefix_of(stored: Stored) -> str | None:
    """Returns the prefix of all names of a wrapped model; None if it is not a ViT."""
    found = (p for p in _PREFIXES if f"{p}{_EMBED}" in stored)
    return next(found, None)


def tidied(stored: Stored) -> Stored:
    """Returns the arrays under timm's names since 2023."""
    prefix = prefix_of(stored) or ""
    inside = {key.removeprefix(prefix): array for key, array in stored.items()}
    # The name in files of DINOv2's authors.
    if "register_tokens" in inside:
        inside["reg_token"] = inside.pop("register_tokens")
    return inside


def check_variant(stored: Stored) -> None:
    """Raises an error for variants of the ViT that this library does not have.

    Raises:
        UserError: the message names the first array of such a variant.
    """
    for pattern, what in _REFUSED.items():
        key = next((key for key in stored if re.match(pattern, key)), None)
        if key:
            raise UserError(
                f"unknown array {key!r}: {what}, which ViTs of this library do not have. "
                f"Use a file of a ViT, DeiT, DeiT-III or DINOv2 without it."
            )


def vit_of(stored: Stored, hints: Hints) -> ViTSpec:
    """Returns the spec of the ViT in a tidied file.

    Raises:
        UserError: not a complete ViT, or an unknown variant.
    """
    check_variant(stored)
    pool = "cls" if "cls_token" in stored else "mean"
    embed, fc1, fc2 = (
        _shape(stored, key, rank=rank)
        for key, rank in ((_EMBED, 4), (_mlp(1), 2), (_mlp(2), 2))
    )
    if fc1[0] != fc2[1]:
        raise UserError(
            f"{_mlp(2)!r}: expected {fc1[0]} input channels, the outputs of {_mlp(1)!r}, "
            f"got {fc2[1]}: a gated MLP (SwiGLU), which ViTs of this library do not have. "
            f"Use a smaller model of the family."
        )
    if embed[2] != embed[3]:
        raise UserError(
            f"{_EMBED!r}: expected square patches, got shape {embed}. Use another file."
        )
    register = stored.get("reg_token")
    return ViTSpec(
        width=embed[0],
        depth=_depth(stored),
        num_heads=_heads(embed[0], hints, pool=pool),
        mlp_dim=fc1[0],
        patch_size=embed[2],
        pool=pool,
        position_resize="bicubic_aa",
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in stored else 0.0,
        num_register_tokens=0 if register is None else register.shape[1],
        gelu="erf",
        norm_eps=1e-6,
    )


def positions_of(
    stored: Stored, vit: ViTSpec, hints: Hints
) -> tuple[tuple[int, int], bool]:
    """Returns the (h, w) of the position table, and whether the class token has a row.

    Raises:
        UserError: no table, or its grid cannot be told; the caller must pass it.
    """
    rows = _shape(stored, "pos_embed", rank=3)[1]
    cls = vit.pool == "cls"
    # DeiT-III and ViTs with register tokens have no row for the class token.
    counts = [rows - 1, rows] if cls else [rows]
    grid = grid_of_table(counts, hints, where="'pos_embed'")
    return grid, cls and rows > math.prod(grid)


def classes_of(stored: Stored) -> int:
    """Returns K of the classifier, 0 if there is none."""
    return stored["head.weight"].shape[0] if "head.weight" in stored else 0


def head_options(stored: Stored) -> dict[str, int]:
    """Returns the options of the head: the width of its tanh layer."""
    layer = stored.get(f"{_PRE_LOGITS}.bias")
    if layer is None or "head.weight" not in stored:
        return {}
    return dict(representation_size=layer.shape[0])


def vit_entries(architecture: Architecture) -> list[Entry]:
    """Returns the entries of the ViT and the classifier."""
    vit = architecture.given_vit
    entries = [
        entry("vit/embed/kernel", _EMBED, CONV_OIHW),
        entry("vit/embed/bias", "patch_embed.proj.bias", SAME),
    ]
    if vit.pool == "cls":
        paths = ("vit/cls_position", "vit/position")
        codec = positions(architecture.given_grid, cls=architecture.cls_position)
        entries.append(entry("vit/cls", "cls_token", tokens(1)))
        entries.append(entry(paths, "pos_embed", codec))
    else:
        codec = grid_positions(architecture.given_grid)
        entries.append(entry("vit/position", "pos_embed", codec))
    if vit.num_register_tokens:
        entries.append(entry("vit/registers", "reg_token", tokens(vit.num_register_tokens)))
    for i in range(vit.depth):
        entries += _block(i, scaled=bool(vit.layer_scale))
    entries += norm("vit/norm", "norm")
    if architecture.num_classes:
        entries += _linear("head/logits", "head")
    if architecture.head_options.get("representation_size"):
        entries += _linear("head/pre_logits", _PRE_LOGITS)
    return entries


def norm(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of scale and bias of a LayerNorm or GroupNorm."""
    return [
        entry(f"{ours}/scale", f"{theirs}.weight", SAME),
        entry(f"{ours}/bias", f"{theirs}.bias", SAME),
    ]


def check_keys(stored: Stored, entries: Iterable[Entry]) -> None:
    """Raises an error for a file with missing or unknown arrays: another architecture.

    Raises:
        UserError: an array is missing or unknown; the message names the first one.
    """
    known = {key: None for entry in entries for key in entry.keys}
    missing = [key for key in known if key not in stored]
    unknown = [
        key
        for key in stored
        if key not in known and not re.fullmatch(rf"{_DROPPED}|head\.\w+", key)
    ]
    if missing:
        raise UserError(
            f"expected an array {missing[0]!r} of a ViT, got none."
            f"{nearest(missing[0], unknown)} ({len(missing)} missing in all.) "
            f"Use a file of a complete model."
        )
    if unknown:
        raise UserError(
            f"unknown array {unknown[0]!r} {stored[unknown[0]].shape} ({len(unknown)} "
            f"unknown in all): the file holds another architecture. Use a file of a ViT, "
            f"DeiT, DeiT-III or DINOv2."
        )


def _block(i: int, *, scaled: bool) -> list[Entry]:
    ours, theirs = f"vit/blocks/{i}", f"blocks.{i}"
    entries = norm(f"{ours}/norm1", f"{theirs}.norm1")
    entries += [
        entry(f"{ours}/attn/qkv/kernel", f"{theirs}.attn.qkv.weight", QKV_LINEAR_OI),
        entry(f"{ours}/attn/qkv/bias", f"{theirs}.attn.qkv.bias", QKV_BIAS),
    ]
    entries += _linear(f"{ours}/attn/out", f"{theirs}.attn.proj")
    entries += norm(f"{ours}/norm2", f"{theirs}.norm2")
    for layer in ("fc1", "fc2"):
        entries += _linear(f"{ours}/mlp/{layer}", f"{theirs}.mlp.{layer}")
    for n in (1, 2) if scaled else ():
        entries.append(entry(f"{ours}/scale{n}/gamma", f"{theirs}.ls{n}.gamma", SAME))
    return entries


def _linear(ours: str, theirs: str) -> list[Entry]:
    return [
        entry(f"{ours}/kernel", f"{theirs}.weight", LINEAR_OI),
        entry(f"{ours}/bias", f"{theirs}.bias", SAME),
    ]


def _mlp(layer: int) -> str:
    return f"blocks.0.mlp.fc{layer}.weight"


def _depth(stored: Stored) -> int:
    numbers = [
        int(m.group(1)) for key in stored if (m := re.match(r"blocks\.(\d+)\.", key))
    ]
    return max(numbers) + 1


def _heads(width: int, hints: Hints, *, pool: str) -> int:
    # Without a class token, timm has files of width 768 with 12 and with 16 heads, and with
    # either GELU, so the caller must give both.
    advice = (
        " and vit_options=dict(gelu='tanh') if it is SigLIP's" if pool == "mean" else ""
    )
    return heads_of(width, hints, usual=pool == "cls", advice=advice)


def _shape(stored: Stored, key: str, *, rank: int) -> tuple[int, ...]:
    """Returns the shape of an array, which must have `rank` axes."""
    if key not in stored or len(stored[key].shape) != rank:
        found = stored[key].shape if key in stored else "none"
        raise UserError(
            f"expected an array {key!r} with {rank} axes, got {found}: an unknown variant "
            f"of the ViT, or not a complete one. Use another file."
        )
    return stored[key].shape
