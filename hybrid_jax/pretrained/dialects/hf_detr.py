"""`hf_detr`: the detectors of transformers, such as `facebook/detr-resnet-50`.

A ResNet with (frozen) BatchNorm under `model.backbone.conv_encoder.model.`, with the names
of timm or of transformers, then DETR's encoder, decoder and heads. Files have the names of
2020 (`out_proj`, `fc1`), a state dict of transformers 5 has others (`o_proj`, `mlp.fc1`);
both are read. The classifier has one column more than there are classes.

A file does not contain two facts: the number of attention heads (assumed: one per 32
channels, as in all published models, unless the caller gives it), and whether the last
stage is dilated (DC5; assumed: no). Boxes are normalized by the image without its padding.
"""

import re
from collections.abc import Iterable

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.codecs import CONV_OIHW, SAME
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
    entry,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import timm_resnet as resnet_names
from hybrid_jax.pretrained.names.hf import linear, norm

_PREFIXES = ("model.backbone.conv_encoder.model.", "model.backbone.model.")
_BACKBONE = "backbone."
_INPUT = "model.input_projection"
_QUERIES = "model.query_position_embeddings.weight"
_CLASSES = "class_labels_classifier"
_STAGE = r"encoder\.stages\.(\d+)\.layers\.(\d+)\."
_HEAD_WIDTH = 32


@DIALECTS.register("hf_detr")
class HfDetr:
    """DETR on a ResNet with bottleneck blocks."""

    name = "hf_detr"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has DETR's queries, projection and classifier."""
        return {f"{_INPUT}.weight", _QUERIES, f"{_CLASSES}.weight"} <= stored.keys()

    def tidy(self, stored: Stored) -> Stored:
        """Renames the ResNet's arrays as in timm, and the others as in 2020."""
        stored = resnet_names.without_counters(stored)
        return {_tidied(key): array for key, array in stored.items()}

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; other architectures raise an error."""
        queries, width = stored[_QUERIES].shape
        hidden = stored.get("model.decoder.layers.0.fc1.weight")
        if hidden is None:
            raise UserError(
                "expected an array 'model.decoder.layers.0.fc1.weight', got none: not a "
                "complete DETR. Use a file of a complete DetrForObjectDetection."
            )
        architecture = Architecture(
            fusion="resnet",
            resnet=resnet_names.resnet_of(stored, prefix=_BACKBONE),
            num_classes=stored[f"{_CLASSES}.weight"].shape[0] - 1,
            head="detr",
            head_options=dict(
                strides=(32,),
                num_queries=queries,
                hidden_dim=width,
                num_heads=_heads_of(width, hints),
                mlp_dim=hidden.shape[0],
                encoder_layers=_layers(stored, "encoder"),
                decoder_layers=_layers(stored, "decoder"),
                scores="softmax",
                input_norm=False,
                normalized_by="content",
            ),
            preprocessing=Preprocessing(
                normalization="imagenet", interpolation="bilinear", certain=False
            ),
        )
        _check_keys(stored, self.entries(architecture))
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        entries = resnet_names.resnet_entries(architecture.given_resnet, prefix=_BACKBONE)
        project = "head/memory/project/0"
        entries += [
            entry(f"{project}/kernel", f"{_INPUT}.weight", CONV_OIHW),
            entry(f"{project}/bias", f"{_INPUT}.bias", SAME),
            entry("head/query_embed", _QUERIES, SAME),
        ]
        for i in range(architecture.head_options["encoder_layers"]):
            entries += _encoder_layer(
                f"head/encoder/layers/{i}", f"model.encoder.layers.{i}"
            )
        for i in range(architecture.head_options["decoder_layers"]):
            entries += _decoder_layer(
                f"head/decoder/layers/{i}", f"model.decoder.layers.{i}"
            )
        entries += norm("head/decoder/norm", "model.decoder.layernorm")
        entries += linear("head/decoder/head/logits", _CLASSES)
        for n in range(3):
            entries += linear(f"head/decoder/head/box{n + 1}", f"bbox_predictor.layers.{n}")
        return entries


def _tidied(key: str) -> str:
    prefix = next((p for p in _PREFIXES if key.startswith(p)), None)
    if prefix is not None:
        return _BACKBONE + _timm_name(key.removeprefix(prefix))
    return key.replace(".o_proj.", ".out_proj.").replace(".mlp.fc", ".fc")


def _timm_name(key: str) -> str:
    """Returns timm's name for an array of transformers' ResNet; other names unchanged."""
    kind = key.rpartition(".")[2]
    is_conv = ".convolution." in key
    if key.startswith("embedder.embedder."):
        return f"conv1.{kind}" if is_conv else f"bn1.{kind}"
    match = re.match(_STAGE + r"(shortcut|layer\.(\d+))\.", key)
    if match is None:
        return key
    block = f"layer{int(match[1]) + 1}.{match[2]}"
    if match[3] == "shortcut":
        return f"{block}.downsample.{0 if is_conv else 1}.{kind}"
    return f"{block}.{'conv' if is_conv else 'bn'}{int(match[4]) + 1}.{kind}"


def _heads_of(width: int, hints: Hints) -> int:
    """Returns the number of heads from the hints, or one per 32 channels."""
    if hints.num_heads and width % hints.num_heads == 0:
        return hints.num_heads
    if width % _HEAD_WIDTH:
        raise UserError(
            f"the file does not contain the number of attention heads its DETR of width "
            f"{width} has. Pass it: load_pretrained(..., num_heads=...)."
        )
    return width // _HEAD_WIDTH


def _layers(stored: Stored, side: str) -> int:
    pattern = rf"model\.{side}\.layers\.(\d+)\."
    return max(
        (int(m[1]) + 1 for key in stored if (m := re.match(pattern, key))), default=0
    )


def _attention(ours: str, theirs: str) -> list[Entry]:
    names = dict(query="q_proj", key="k_proj", value="v_proj", out="out_proj")
    parts = [linear(f"{ours}/{a}", f"{theirs}.{b}") for a, b in names.items()]
    return sum(parts, [])


def _encoder_layer(ours: str, theirs: str) -> list[Entry]:
    return [
        *_attention(f"{ours}/attn", f"{theirs}.self_attn"),
        *norm(f"{ours}/add1/norm", f"{theirs}.self_attn_layer_norm"),
        *_feed_forward(ours, theirs),
        *norm(f"{ours}/add2/norm", f"{theirs}.final_layer_norm"),
    ]


def _decoder_layer(ours: str, theirs: str) -> list[Entry]:
    return [
        *_attention(f"{ours}/self_attn", f"{theirs}.self_attn"),
        *norm(f"{ours}/add1/norm", f"{theirs}.self_attn_layer_norm"),
        *_attention(f"{ours}/cross_attn", f"{theirs}.encoder_attn"),
        *norm(f"{ours}/add2/norm", f"{theirs}.encoder_attn_layer_norm"),
        *_feed_forward(ours, theirs),
        *norm(f"{ours}/add3/norm", f"{theirs}.final_layer_norm"),
    ]


def _feed_forward(ours: str, theirs: str) -> list[Entry]:
    return [
        *linear(f"{ours}/ffn/fc1", f"{theirs}.fc1"),
        *linear(f"{ours}/ffn/fc2", f"{theirs}.fc2"),
    ]


def _check_keys(stored: Stored, entries: Iterable[Entry]) -> None:
    """Raises an error for a file with missing or unknown arrays: another architecture.

    Raises:
        UserError: an array is missing or unknown; the message names the first one.
    """
    known = {key: None for entry in entries for key in entry.keys}
    missing = [key for key in known if key not in stored]
    unknown = [key for key in stored if key not in known]
    if missing:
        raise UserError(
            f"expected an array {missing[0]!r} of a DETR on a ResNet, got none."
            f"{nearest(missing[0], unknown)} ({len(missing)} missing in all.) "
            f"Use a file of a complete DetrForObjectDetection."
        )
    if unknown:
        raise UserError(
            f"unknown array {unknown[0]!r} {stored[unknown[0]].shape} ({len(unknown)} "
            f"unknown in all): the file holds another architecture, such as Table "
            f"Transformer or Conditional DETR. Use a file of a DetrForObjectDetection on "
            f"a ResNet."
        )
