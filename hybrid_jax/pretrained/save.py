"""`save_pretrained`: writes a model in the layout of vit_jax or timm."""

import json
import os
import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np
from flax import nnx
from numpy.lib import format as npy

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.fusions.conv_stem import ConvStem
from hybrid_jax.models.fusions.sequential import Sequential
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.heads.linear import Linear
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.ops.normalize_image import POLICIES
from hybrid_jax.pretrained.dialect import Architecture, Entry, Preprocessing
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.fill import model_path
from hybrid_jax.pretrained.load import leaves_by_path
from hybrid_jax.specs import ResNetSpec

FORMATS = ("npz", "safetensors")
_KEPT = "Use the checkpoints of the workdir instead."

# Numerics of the ResNet and GELU of the library that reads each format.
_NUMERICS = {"npz": ("vit_jax", "tanh"), "safetensors": ("timm", "erf")}


def save_pretrained(
    model: Hybrid,
    path: str | pathlib.Path,
    *,
    format: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> tuple[str, ...]:
    """Writes a model as `.npz` in vit_jax's layout or as `.safetensors` in timm's.

    The file is written atomically. With a `.safetensors` file, a `config.json` with the
    image preprocessing is written for timm and `load_pretrained`.

    Args:
        model: a model with the fusion `vit`, `resnet`, `sequential` or `conv_stem`.
        path: path of the file.
        format: "npz" or "safetensors"; None to take the suffix of the path.
        preprocessing: image preprocessing of the model.

    Returns:
        Remarks on differences of numerics in the other library, and on options that must be
        passed when loading, because the file cannot contain them.

    Raises:
        UserError: unknown format, a folded model, or a model that the layout does not have.
    """
    if model.is_folded:
        raise UserError(
            "export: expected a model that is not folded, got a folded one. Use "
            "load_trained(..., folded=False)."
        )
    path = pathlib.Path(path)
    format = format or path.suffix.removeprefix(".")
    if format not in FORMATS:
        raise UserError(f"export: format: expected one of {FORMATS}, got {format!r}.")
    architecture = architecture_of(model)
    card = _free_card(path.parent / "config.json") if format == "safetensors" else None
    name = _dialect_for(architecture, format)
    entries = DIALECTS.get(name)().entries(architecture)
    leaves = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    arriving = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        (_write_npz if format == "npz" else _write_safetensors)(arriving, entries, leaves)
        arriving.replace(path)
    finally:
        arriving.unlink(missing_ok=True)
    if card is not None:
        card.write_text(_card(architecture, preprocessing or Preprocessing()))
    return _remarks(architecture, format)


def architecture_of(model: Hybrid) -> Architecture:
    """Returns the architecture of a built model.

    Raises:
        UserError: a fusion or a head that other libraries do not have.
    """
    head = next(n for n in HEADS.names() if HEADS.get(n) is type(model.head))
    if head != "linear":
        raise UserError(
            f"export: expected a classifier (head 'linear'), got head {head!r}, which the "
            f"layouts of vit_jax and timm do not have. {_KEPT}"
        )
    assert isinstance(model.head, Linear)
    backbone = model.backbone
    fusion = next(n for n in FUSIONS.names() if FUSIONS.get(n) is type(backbone))
    if fusion not in ("vit", "resnet", "sequential", "conv_stem"):
        raise UserError(
            f"export: expected the fusion vit, resnet, sequential or conv_stem, got "
            f"{fusion!r}, which no other library has. {_KEPT}"
        )
    resnet, vit = getattr(backbone, "resnet", None), getattr(backbone, "vit", None)
    learned = vit is not None and vit.spec.positions == "learned"
    options = {}
    if isinstance(backbone, Sequential):
        options = dict(stride=backbone.stride)
    elif isinstance(backbone, ConvStem):
        options = dict(patch_size=backbone.stride // 4)
    return Architecture(
        fusion=fusion,
        options=options,
        resnet=None if resnet is None else resnet.spec,
        vit=None if vit is None else vit.spec,
        grid=vit.position.shape[:2] if vit is not None and learned else None,
        num_classes=model.head.logits.kernel.shape[-1],
        head_options=_head_options(model.head),
    )


def _head_options(head: Linear) -> dict[str, int]:
    layer = head.pre_logits
    return {} if layer is None else dict(representation_size=layer.kernel.shape[-1])


def _dialect_for(architecture: Architecture, format: str) -> str:
    """Returns the name of the dialect for a model and a format."""
    resnet, vit = architecture.resnet, architecture.vit
    if architecture.head_options and (format == "safetensors" or vit is None):
        raise UserError(
            f"export: expected a classifier without a tanh layer before it "
            f"(representation_size=0), which only ViTs and hybrids in the format npz have. "
            f"{_KEPT}"
        )
    if resnet is not None:
        _check_resnet(resnet, under_vit=vit is not None)
    if vit is None:
        assert resnet is not None  # a model has one of both
        if format == "safetensors":
            return "timm_bit" if resnet.norm == "group" else "timm_resnet"
        if resnet.preactivation:
            return "bit"
        raise UserError(
            "export: expected a ViT, a hybrid or a pre-activation ResNet for the format "
            "npz, got another ResNet. Use the format safetensors."
        )
    if vit.pool == "attention" or vit.positions != "learned":
        raise UserError(
            f"export: expected a ViT with pool 'cls' or 'mean' and positions 'learned', "
            f"got pool={vit.pool!r}, positions={vit.positions!r}. {_KEPT}"
        )
    grouped = resnet is None or resnet.norm == "group"
    if format == "safetensors":
        return "timm_vit" if resnet is None else f"timm_hybrid{'' if grouped else '_bn'}"
    if not grouped or vit.num_register_tokens or vit.layer_scale:
        raise UserError(
            "export: the format npz has no names for BatchNorm, registers and LayerScale; "
            "write this model as safetensors."
        )
    return "vit_jax"


def _check_resnet(resnet: ResNetSpec, *, under_vit: bool) -> None:
    """Raises an error for variants of the ResNet that no layout can represent.

    Raises:
        UserError: the message names the first such field.
    """
    if resnet.norm == "group":
        for field, usual in (("root", "7x7"), ("shortcut", "strided")):
            if getattr(resnet, field) != usual:
                raise UserError(
                    f"export: expected {field}={usual!r} for a ResNet with GroupNorm, got "
                    f"{getattr(resnet, field)!r}, which no other library has. {_KEPT}"
                )
        if under_vit and resnet.preactivation:
            raise UserError(
                f"export: expected a ResNet without pre-activation before a ViT, got one "
                f"with, which no other library has. {_KEPT}"
            )
    elif under_vit and not resnet.blocks:
        raise UserError(
            f"export: expected a ResNet with stages before a ViT, got only a root with "
            f"BatchNorm, which no other library has. {_KEPT}"
        )


def _written(entries: list[Entry], leaves: dict) -> Iterator[tuple[str, np.ndarray]]:
    """Yields keys and float32 arrays of the file, entry by entry."""
    for entry in entries:
        ours = [np.asarray(leaves[model_path(path)], np.float32) for path in entry.paths]
        for key, array in zip(entry.keys, entry.codec.write(*ours), strict=True):
            yield key, np.ascontiguousarray(array)


def _write_npz(path: pathlib.Path, entries: list[Entry], leaves: dict) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for key, array in _written(entries, leaves):
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def _write_safetensors(path: pathlib.Path, entries: list[Entry], leaves: dict) -> None:
    """Writes array by array; safetensors' own writer needs all arrays in memory twice."""
    header: dict = {"__metadata__": {"format": "pt"}}
    end = 0
    for key, array in _written(entries, leaves):
        begin, end = end, end + array.nbytes
        header[key] = dict(dtype="F32", shape=array.shape, data_offsets=(begin, end))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in _written(entries, leaves):
            file.write(array.data)


def _free_card(card: pathlib.Path) -> pathlib.Path:
    """Returns the path of `config.json` if it may be written.

    Raises:
        UserError: there is a `config.json` of something else.
    """
    if card.exists() and "pretrained_cfg" not in card.read_text():
        raise UserError(
            f"export: {card} exists and does not describe weights; it would be "
            f"overwritten. Write to another folder."
        )
    return card


def _card(architecture: Architecture, preprocessing: Preprocessing) -> str:
    mean, deviation = POLICIES[preprocessing.normalization]
    card = dict(
        num_classes=architecture.num_classes,
        pretrained_cfg=dict(
            mean=[float(m) for m in mean],
            std=[float(d) for d in deviation],
            interpolation=preprocessing.interpolation,
            crop_pct=preprocessing.eval_crop,
            num_classes=architecture.num_classes,
        ),
    )
    return json.dumps(card, indent=2) + "\n"


def _remarks(architecture: Architecture, format: str) -> tuple[str, ...]:
    numerics, gelu = _NUMERICS[format]
    remarks = []
    resnet, vit = architecture.resnet, architecture.vit
    if resnet is not None and resnet.norm == "group" and resnet.numerics != numerics:
        remarks.append(f"its ResNet was trained with {resnet.numerics!r} epsilons")
    if vit is not None and vit.gelu != gelu:
        remarks.append(f"its ViT was trained with the {vit.gelu!r} GELU")
    if vit is not None and vit.norm_eps != 1e-6:
        remarks.append(f"its ViT was trained with a LayerNorm epsilon of {vit.norm_eps:g}")
    if remarks:
        library = "vit_jax" if format == "npz" else "timm"
        remarks.append(f"{library} uses its own values; outputs will differ slightly")
    if vit is not None and vit.pool == "mean" and format == "safetensors":
        remarks.append(
            "it has mean pooling: in timm, build it with class_token=False, "
            "global_pool='avg', fc_norm=False; here, pass num_heads= to load_pretrained"
        )
    if resnet is not None and 2 ** (len(resnet.blocks) + 1) > resnet.output_stride:
        remarks.append(
            f"it is dilated, which the file does not contain: build it with "
            f"output_stride={resnet.output_stride} when loading"
        )
    return tuple(remarks)
