"""`save_pretrained`: a model in the layouts other libraries open."""

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
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.ops.normalize_image import POLICIES
from hybrid_jax.pretrained.dialect import Architecture, Entry, Preprocessing
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.fill import model_path
from hybrid_jax.pretrained.load import leaves_by_path
from hybrid_jax.specs import ResNetSpec

FORMATS = ("npz", "safetensors")
_KEPT = "Checkpoints of the workdir hold it."

# The library that reads each format, and how the parts must round to be the same there.
_NUMERICS = {"npz": ("vit_jax", "tanh"), "safetensors": ("timm", "erf")}


def save_pretrained(
    model: Hybrid,
    path: str | pathlib.Path,
    *,
    format: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> tuple[str, ...]:
    """Writes a model as `.npz` in vit_jax's layout or as `.safetensors` in timm's.

    The file appears whole or not at all. Beside a `.safetensors` file a `config.json`
    tells timm, and `load_pretrained`, how images are prepared.

    Args:
        model: a ViT, a ResNet or a serial hybrid (`vit`, `resnet`, `sequential`,
            `conv_stem`): what those libraries have.
        path: of the file to write.
        format: "npz" or "safetensors"; from the end of the path if None.
        preprocessing: of the images the model was trained on.

    Returns:
        Remarks: where the numbers will differ a little in the other library, and what it
        has to be told because the file cannot.

    Raises:
        UserError: unknown format, a folded model, or one that the layout has no names
            for.
    """
    if model.is_folded:
        raise UserError(
            "export: expected a model as it was trained, got a folded one, whose arrays "
            "are not those of the layout. Use load_trained(..., folded=False)."
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
    """Returns what a dialect needs to know of a built model.

    Raises:
        UserError: a fusion or a head that no exported layout has.
    """
    head = next(n for n in HEADS.names() if HEADS.get(n) is type(model.head))
    if head != "linear":
        raise UserError(
            f"export: expected a classifier (head 'linear'), got head {head!r}, which the "
            f"layouts of other libraries written here do not have; checkpoints of the "
            f"workdir hold it."
        )
    backbone = model.backbone
    fusion = next(n for n in FUSIONS.names() if FUSIONS.get(n) is type(backbone))
    if fusion not in ("vit", "resnet", "sequential", "conv_stem"):
        raise UserError(
            f"export: no other library has the fusion {fusion!r}. Exported are vit, "
            f"resnet, sequential and conv_stem; checkpoints of the workdir hold the rest."
        )
    resnet, vit = getattr(backbone, "resnet", None), getattr(backbone, "vit", None)
    learned = vit is not None and vit.spec.positions == "learned"
    options = {
        "sequential": lambda: dict(stride=backbone.stride),
        "conv_stem": lambda: dict(patch_size=backbone.stride // 4),
    }.get(fusion, dict)()
    return Architecture(
        fusion=fusion,
        options=options,
        resnet=None if resnet is None else resnet.spec,
        vit=None if vit is None else vit.spec,
        grid=vit.position.shape[:2] if learned else None,
        num_classes=model.head.logits.kernel.shape[-1],
    )


def _dialect_for(architecture: Architecture, format: str) -> str:
    """Returns the dialect in which a format holds such a model."""
    resnet, vit = architecture.resnet, architecture.vit
    if resnet is not None:
        _check_resnet(resnet, under_vit=vit is not None)
    if vit is None:
        if format == "safetensors":
            return "timm_bit" if resnet.norm == "group" else "timm_resnet"
        if resnet.preactivation:
            return "bit"
        raise UserError(
            "export: .npz files hold ViTs, hybrids and pre-activation ResNets; write this "
            "one as safetensors."
        )
    if vit.pool == "attention" or vit.positions != "learned":
        raise UserError(
            f"export: files of this kind hold ViTs that pool by class token or mean, with "
            f"learned positions; this one has pool={vit.pool!r}, "
            f"positions={vit.positions!r}. {_KEPT}"
        )
    grouped = resnet is None or resnet.norm == "group"
    if format == "safetensors":
        return "timm_vit" if resnet is None else f"timm_hybrid{'' if grouped else '_bn'}"
    if not grouped or vit.num_register_tokens or vit.layer_scale:
        raise UserError(
            "export: .npz files have no names for BatchNorm, registers and layer scales; "
            "write this model as safetensors."
        )
    return "vit_jax"


def _check_resnet(resnet: ResNetSpec, *, under_vit: bool) -> None:
    """Refuses forms that no layout tells apart from those it has names for.

    Raises:
        UserError: names the first field that would be lost.
    """
    if resnet.norm == "group":
        for field, usual in (("root", "7x7"), ("shortcut", "strided")):
            if getattr(resnet, field) != usual:
                raise UserError(
                    f"export: no other library has a GroupNorm ResNet with "
                    f"{field}={getattr(resnet, field)!r}. {_KEPT}"
                )
        if under_vit and resnet.preactivation:
            raise UserError(
                f"export: no other library puts a ViT on a pre-activation ResNet. {_KEPT}"
            )
    elif under_vit and not resnet.blocks:
        raise UserError(
            f"export: no other library puts a ViT on a BatchNorm ResNet's root. {_KEPT}"
        )


def _written(entries: list[Entry], leaves: dict) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the file's keys and arrays, float32, one entry's at a time."""
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
    """Writes array after array; the library's own writer wants them all, and twice."""
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
    """Returns where the description goes; refuses to write over something else's.

    Raises:
        UserError: a `config.json` that describes no weights stands there.
    """
    if card.exists() and "pretrained_cfg" not in card.read_text():
        raise UserError(
            f"export: {card} is something else's file, and the description of the weights "
            f"goes by the same name. Write into a folder of its own."
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
        remarks.append(f"{library} will compute with its own; outputs differ slightly")
    if vit is not None and vit.pool == "mean" and format == "safetensors":
        remarks.append(
            "it pools by the mean: in timm, build it with class_token=False, "
            "global_pool='avg', fc_norm=False; here, say num_heads= to load_pretrained"
        )
    if resnet is not None and 2 ** (len(resnet.blocks) + 1) > resnet.output_stride:
        remarks.append(
            f"it dilates, which no file tells: build it with "
            f"output_stride={resnet.output_stride} wherever it is loaded"
        )
    return tuple(remarks)
