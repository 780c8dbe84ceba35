"""Names and shapes common to the ViTs of transformers, with and without a ResNet.

Files have the names of 2020 (`encoder.layer.0.attention.attention.query.weight`), a state
dict of transformers 5 has others (`layers.0.attention.q_proj.weight`); both are read.
"""

import re
from collections.abc import Iterable

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.codecs import (
    CONV_OIHW,
    LINEAR_OI,
    QKV_BIASES,
    QKV_LINEARS_OI,
    SAME,
    positions,
    tokens,
)
from hybrid_jax.pretrained.dialect import Architecture, Entry, Hints, Stored, entry
from hybrid_jax.pretrained.inferred_options import heads_of
from hybrid_jax.pretrained.position_grid import grid_of_table
from hybrid_jax.specs import PositionResize, ViTSpec

_POSITIONS = "embeddings.position_embeddings"
_LAYER = "encoder.layer.{i}"
_FC1 = f"{_LAYER}.intermediate.dense"
_FC2 = f"{_LAYER}.output.dense"
_OUT = f"{_LAYER}.attention.output.dense"
# Names inside a layer since transformers 5 -> before.
_CLASSIC = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_NEW_LAYER = re.compile(r"layers\.(\d+)\.(.*)\.(weight|bias)")


def tidied(stored: Stored, *, prefixes: tuple[str, ...]) -> Stored:
    """Returns the arrays under the names of 2020, without a prefix."""
    prefix = next((p for p in prefixes if f"{p}{_POSITIONS}" in stored), "")
    return {_classic(key.removeprefix(prefix)): array for key, array in stored.items()}


def _classic(key: str) -> str:
    match = _NEW_LAYER.fullmatch(key)
    if match is None:
        return key
    number, module, kind = match.groups()
    return f"{_LAYER.format(i=number)}.{_CLASSIC.get(module, module)}.{kind}"


def is_vit(stored: Stored) -> bool:
    """Whether tidied arrays are a ViT's; other architectures have other norm names."""
    return {_POSITIONS, f"{_LAYER.format(i=0)}.layernorm_before.weight"} <= stored.keys()


def vit_of(stored: Stored, hints: Hints, *, embed: str, resize: PositionResize) -> ViTSpec:
    """Returns the spec of the ViT in a tidied file.

    Args:
        embed: key of the embedding's kernel.
        resize: resizing method of positions.

    Raises:
        UserError: no embedding, no first layer, or an unknown number of heads.
    """
    kernel, hidden = stored.get(embed), stored.get(f"{_FC1.format(i=0)}.weight")
    if kernel is None or hidden is None or len(kernel.shape) != 4:
        raise UserError(
            f"expected a convolution {embed!r} and a layer {_FC1.format(i=0)!r}, got a "
            f"file without: not a complete ViT. Use a file of a complete ViT."
        )
    width, _, side, other = kernel.shape
    if side != other:
        raise UserError(
            f"{embed!r}: expected square patches, got shape {kernel.shape}. Use another "
            f"file."
        )
    numbers = [
        int(m.group(1))
        for key in stored
        if (m := re.match(r"encoder\.layer\.(\d+)\.", key))
    ]
    return ViTSpec(
        width=width,
        depth=max(numbers) + 1,
        num_heads=heads_of(width, hints),
        mlp_dim=hidden.shape[0],
        patch_size=side,
        position_resize=resize,
        gelu="erf",
        norm_eps=1e-12,
    )


def grid_of(stored: Stored, hints: Hints) -> tuple[int, int]:
    """Returns the (h, w) of the position table, whose first row is the class token's.

    Raises:
        UserError: it cannot be told; the caller must pass the grid.
    """
    cells = stored[_POSITIONS].shape[1] - 1
    return grid_of_table([cells], hints, where=_POSITIONS)


def vit_entries(architecture: Architecture, *, embed: str) -> list[Entry]:
    """Returns the entries of the ViT; `embed` is the name of the embedding's module."""
    paths = ("vit/cls_position", "vit/position")
    entries = [
        entry("vit/embed/kernel", f"{embed}.weight", CONV_OIHW),
        entry("vit/embed/bias", f"{embed}.bias", SAME),
        entry("vit/cls", "embeddings.cls_token", tokens(1)),
        entry(paths, _POSITIONS, positions(architecture.given_grid, cls=True)),
    ]
    for i in range(architecture.given_vit.depth):
        entries += _layer(f"vit/blocks/{i}", i)
    return entries + norm("vit/norm", "layernorm")


def norm(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of scale and bias of a LayerNorm or GroupNorm."""
    return [
        entry(f"{ours}/scale", f"{theirs}.weight", SAME),
        entry(f"{ours}/bias", f"{theirs}.bias", SAME),
    ]


def linear(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of kernel and bias of a linear layer."""
    return [
        entry(f"{ours}/kernel", f"{theirs}.weight", LINEAR_OI),
        entry(f"{ours}/bias", f"{theirs}.bias", SAME),
    ]


def _layer(ours: str, i: int) -> list[Entry]:
    layer = _LAYER.format(i=i)
    weights, biases = (
        tuple(f"{layer}.attention.attention.{n}.{kind}" for n in ("query", "key", "value"))
        for kind in ("weight", "bias")
    )
    return [
        *norm(f"{ours}/norm1", f"{layer}.layernorm_before"),
        entry(f"{ours}/attn/qkv/kernel", weights, QKV_LINEARS_OI),
        entry(f"{ours}/attn/qkv/bias", biases, QKV_BIASES),
        *linear(f"{ours}/attn/out", _OUT.format(i=i)),
        *norm(f"{ours}/norm2", f"{layer}.layernorm_after"),
        *linear(f"{ours}/mlp/fc1", _FC1.format(i=i)),
        *linear(f"{ours}/mlp/fc2", _FC2.format(i=i)),
    ]


def check_keys(stored: Stored, entries: Iterable[Entry]) -> None:
    """Raises an error for an encoder with missing or unknown arrays: another architecture.

    Raises:
        UserError: an array is missing or unknown; the message names the first one.
    """
    known = {key: None for entry in entries for key in entry.keys}
    # The mask token is used in pre-training only.
    unknown = [
        key
        for key in stored
        if key.startswith(("embeddings.", "encoder.", "layernorm."))
        and key not in known
        and key != "embeddings.mask_token"
    ]
    missing = [key for key in known if key not in stored]
    if missing:
        raise UserError(
            f"expected an array {missing[0]!r} of a ViT, got none."
            f"{nearest(missing[0], unknown)} ({len(missing)} missing in all.) "
            f"Use a file of a complete ViT."
        )
    if unknown:
        raise UserError(
            f"unknown array {unknown[0]!r} {stored[unknown[0]].shape} ({len(unknown)} "
            f"unknown in all): the file holds another architecture. Use a file of a ViT "
            f"or of a hybrid of ResNet and ViT."
        )
