"""Names and shapes common to the `.npz` files of Google's JAX libraries."""

import re

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.codecs import (
    SAME,
    VECTOR,
    out_heads,
    qkv_head_biases,
    qkv_heads,
    tokens,
)
from hybrid_jax.pretrained.dialect import Architecture, Entry, Stored, entry
from hybrid_jax.specs import ResNetSpec, ViTSpec

_QKV = ("query", "key", "value")
_BLOCK = "Transformer/encoderblock_{i}"


def resnet_entries(spec: ResNetSpec) -> list[Entry]:
    """Returns the entries of a hybrid's ResNet; files count from one."""
    entries = [
        entry("resnet/stem/conv/kernel", "conv_root/kernel", SAME),
        *norm("resnet/stem/norm", "gn_root"),
    ]
    for stage, count in enumerate(spec.blocks):
        for unit in range(count):
            ours = f"resnet/stages/{stage}/blocks/{unit}"
            theirs = f"block{stage + 1}/unit{unit + 1}"
            for n in (1, 2, 3):
                conv = f"{ours}/conv{n}/kernel"
                entries.append(entry(conv, f"{theirs}/conv{n}/kernel", SAME))
                entries += norm(f"{ours}/norm{n}", f"{theirs}/gn{n}")
            if unit == 0:
                conv = f"{ours}/downsample/conv/kernel"
                entries.append(entry(conv, f"{theirs}/conv_proj/kernel", SAME))
                entries += norm(f"{ours}/downsample/norm", f"{theirs}/gn_proj")
    return entries


def vit_entries(spec: ViTSpec) -> list[Entry]:
    """Returns the entries of embedding, blocks and norm, with Linen's module numbers."""
    entries = [
        entry("vit/embed/kernel", "embedding/kernel", SAME),
        entry("vit/embed/bias", "embedding/bias", SAME),
    ]
    if spec.pool == "cls":
        entries.append(entry("vit/cls", "cls", tokens(1)))
    for i in range(spec.depth):
        entries += _block(f"vit/blocks/{i}", _BLOCK.format(i=i), spec.num_heads)
    return entries + norm("vit/norm", "Transformer/encoder_norm")


def head_options(stored: Stored) -> dict[str, int]:
    """Returns the options of the head of a tidied file: the width of its tanh layer."""
    layer = stored.get("pre_logits/bias")
    if layer is None or "head/kernel" not in stored:
        return {}
    return dict(representation_size=layer.shape[0])


def head_entries(architecture: Architecture) -> list[Entry]:
    """Returns the entries of the classifier and of the tanh layer before it, if any."""
    layers = {"head/logits": "head"} if architecture.num_classes else {}
    if architecture.head_options.get("representation_size"):
        layers["head/pre_logits"] = "pre_logits"
    return [
        entry(f"{ours}/{kind}", f"{theirs}/{kind}", SAME)
        for ours, theirs in layers.items()
        for kind in ("kernel", "bias")
    ]


def norm(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of scale and bias of a norm."""
    # Files of 2020 store the vectors of GroupNorm as (1, 1, 1, C).
    return [entry(f"{ours}/{x}", f"{theirs}/{x}", VECTOR) for x in ("scale", "bias")]


def mlp(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of the two linear layers of an MLP."""
    return [
        entry(f"{ours}/fc{n + 1}/{kind}", f"{theirs}/Dense_{n}/{kind}", SAME)
        for n in (0, 1)
        for kind in ("kernel", "bias")
    ]


def _block(ours: str, theirs: str, num_heads: int) -> list[Entry]:
    attention = f"{theirs}/MultiHeadDotProductAttention_0"
    kernels, biases = (
        tuple(f"{attention}/{name}/{kind}" for name in _QKV) for kind in ("kernel", "bias")
    )
    entries = norm(f"{ours}/norm1", f"{theirs}/LayerNorm_0")
    entries += [
        entry(f"{ours}/attn/qkv/kernel", kernels, qkv_heads(num_heads)),
        entry(f"{ours}/attn/qkv/bias", biases, qkv_head_biases(num_heads)),
        entry(f"{ours}/attn/out/kernel", f"{attention}/out/kernel", out_heads(num_heads)),
        entry(f"{ours}/attn/out/bias", f"{attention}/out/bias", SAME),
    ]
    entries += norm(f"{ours}/norm2", f"{theirs}/LayerNorm_1")
    return entries + mlp(f"{ours}/mlp", f"{theirs}/MlpBlock_0")


def without_prefix(stored: Stored, *prefixes: str) -> Stored:
    """Returns the arrays under the first of `prefixes` that occurs, else all arrays.

    Other arrays, such as the optimizer's state, are left out.
    """
    for prefix in prefixes:
        inside = {
            key.removeprefix(prefix): array
            for key, array in stored.items()
            if key.startswith(prefix)
        }
        if inside:
            return inside
    return dict(stored)


# Before Linen, Flax numbered all modules of a block in one sequence.
_LINEN_NUMBERS = {
    "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
    "LayerNorm_2": "LayerNorm_1",
    "MlpBlock_3": "MlpBlock_0",
}


def with_linen_numbers(stored: Stored) -> Stored:
    """Returns the arrays with Linen's numbers of the modules inside a block."""
    pattern = re.compile("|".join(_LINEN_NUMBERS))
    return {
        pattern.sub(lambda m: _LINEN_NUMBERS[m.group()], key): array
        for key, array in stored.items()
    }


def resnet_of(stored: Stored) -> ResNetSpec | None:
    """Returns the spec of the ResNet in a file, None if there is none."""
    if "conv_root/kernel" not in stored:
        return None
    return ResNetSpec(
        blocks=counts(stored, r"block{}/unit(\d+)/"),
        width=stored["conv_root/kernel"].shape[-1],
        numerics="vit_jax",
    )


def counts(stored: Stored, pattern: str) -> tuple[int, ...]:
    """Returns the number of units of each stage 1, 2, ..., found by `pattern`."""
    found = []
    for stage in range(1, 5):
        matcher = re.compile(pattern.format(stage))
        units = {m.group(1) for key in stored if (m := matcher.match(key))}
        if not units:
            break
        found.append(len(units))
    return tuple(found)


def vit_of(stored: Stored, **fields) -> ViTSpec:
    """Returns the spec of the ViT in a tidied file; `fields` are further fields.

    Raises:
        UserError: no blocks in the file, or patches that are not square.
    """
    numbers = {
        int(m.group(1))
        for key in stored
        if (m := re.match(r"Transformer/encoderblock_(\d+)/", key))
    }
    embed = stored["embedding/kernel"].shape if "embedding/kernel" in stored else ()
    if len(embed) != 4 or embed[0] != embed[1]:
        raise UserError(
            f"'embedding/kernel': expected (side, side, channels, width), got "
            f"{embed or 'none'}. "
            f"Use a file of a complete ViT with square patches."
        )
    first = _BLOCK.format(i=0)
    query = stored.get(f"{first}/MultiHeadDotProductAttention_0/query/kernel")
    dense = stored.get(f"{first}/MlpBlock_0/Dense_0/kernel")
    if not numbers or query is None or dense is None:
        raise UserError(
            f"expected a complete first transformer block ({first}/…), got an embedding "
            f"without one. Use a file of a complete ViT."
        )
    return ViTSpec(
        width=query.shape[0],
        depth=max(numbers) + 1,
        num_heads=query.shape[1],
        mlp_dim=dense.shape[1],
        patch_size=embed[0],
        position_resize="corner_linear",
        gelu="tanh",
        norm_eps=1e-6,
        **fields,
    )
